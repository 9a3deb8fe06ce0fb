/* SPDX-License-Identifier: MIT */
/*
 * The URI parser.
 *
 * Problem: a URI is typed by a person, often while a VM hangs between two hosts. What is wrong with
 * it must be said at once and so that it can be mended, before anything is done. Data: the text on
 * one side, fixed-size fields on the other; nothing that does not fit gets through. Failure:
 * -EINVAL and a sentence that shows the URI, says what is wrong, and what it should look like.
 */
#include "channel/uri.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int check_port(const char *uri, const char *port, struct baton_error *error)
{
    size_t digits = strspn(port, "0123456789");

    if (digits == 0 || digits > 5 || port[digits] != 0 || strtoul(port, NULL, 10) > 65535)
        return baton_error_set(
            error, EINVAL,
            "in '%s' the port '%s' is not a number from 0 to 65535; write tcp:HOST:PORT", uri,
            port);
    return 0;
}

static int parse_tcp(const char *uri, const char *rest, struct channel_uri *parsed,
                     struct baton_error *error)
{
    const char *host = rest, *end, *port;

    if (*rest == '[') {
        host = rest + 1;
        end = strchr(host, ']');
        if (!end || end[1] != ':')
            return baton_error_set(
                error, EINVAL,
                "in '%s' the IPv6 address must be closed by ']' and followed by a port; "
                "write tcp:[ADDRESS]:PORT",
                uri);
        if (end == host)
            return baton_error_set(
                error, EINVAL,
                "in '%s' the brackets are empty; write tcp:[ADDRESS]:PORT, or tcp::PORT "
                "for every address of this host",
                uri);
        port = end + 2;
    } else {
        end = strrchr(rest, ':');
        if (!end)
            return baton_error_set(error, EINVAL, "'%s' has no port; write tcp:HOST:PORT", uri);
        if (memchr(rest, ':', (size_t)(end - rest)))
            return baton_error_set(
                error, EINVAL,
                "in '%s' the host has colons in it; write an IPv6 address in brackets: "
                "tcp:[ADDRESS]:PORT",
                uri);
        port = end + 1;
    }
    if (check_port(uri, port, error))
        return -EINVAL;
    parsed->kind = CHANNEL_URI_TCP;
    snprintf(parsed->host, sizeof(parsed->host), "%.*s", (int)(end - host), host);
    snprintf(parsed->port, sizeof(parsed->port), "%.5s", port);
    return 0;
}

static int parse_unix(const char *uri, const char *rest, struct channel_uri *parsed,
                      struct baton_error *error)
{
    size_t length = strlen(rest);

    if (length == 0)
        return baton_error_set(error, EINVAL, "'%s' has no path; write unix:PATH", uri);
    if (length >= sizeof(parsed->path))
        return baton_error_set(
            error, EINVAL,
            "the path in '%.200s' has %zu bytes, and a unix socket's may have %zu; use a "
            "shorter one, for example below /run",
            uri, length, sizeof(parsed->path) - 1);
    parsed->kind = CHANNEL_URI_UNIX;
    memcpy(parsed->path, rest, length + 1);
    return 0;
}

/* Only a number that stands at the very end is an offset: a path may have commas in it. C's
 * notations, as QEMU has them: 4096, 0x1000. */
static int parse_file(const char *uri, const char *rest, struct channel_uri *parsed,
                      struct baton_error *error)
{
    static const char word[] = ",offset=";
    const char *option = NULL, *at = rest;
    char *end = NULL;

    while ((at = strstr(at, word)))
        option = at++;
    parsed->kind = CHANNEL_URI_FILE;
    if (option) {
        const char *number = option + strlen(word);

        errno = 0;
        parsed->offset_bytes = strtoull(number, &end, 0);
        if (*number < '0' || *number > '9' || *end || errno ||
            parsed->offset_bytes > (uint64_t)INT64_MAX)
            return baton_error_set(error, EINVAL,
                                   "in '%s' the offset is not a number of bytes; write "
                                   "file:PATH,offset=NUMBER",
                                   uri);
    }
    snprintf(parsed->text, sizeof(parsed->text), "%.*s",
             (int)(option ? (size_t)(option - rest) : strlen(rest)), rest);
    if (!parsed->text[0])
        return baton_error_set(error, EINVAL, "'%s' has no path; write file:PATH", uri);
    return 0;
}

static int parse_exec(const char *uri, const char *rest, struct channel_uri *parsed,
                      struct baton_error *error)
{
    parsed->kind = CHANNEL_URI_EXEC;
    if (strspn(rest, " \t") == strlen(rest))
        return baton_error_set(error, EINVAL, "'%s' has no command; write exec:COMMAND", uri);
    snprintf(parsed->text, sizeof(parsed->text), "%s", rest);
    return 0;
}

static int parse_fd(const char *uri, const char *rest, struct channel_uri *parsed,
                    struct baton_error *error)
{
    size_t digits = strspn(rest, "0123456789");

    if (digits == 0 || digits > 9 || rest[digits])
        return baton_error_set(error, EINVAL,
                               "in '%s' the descriptor is not a number; write fd:NUMBER, with one "
                               "that this process was started with",
                               uri);
    parsed->kind = CHANNEL_URI_FD;
    parsed->fd = atoi(rest);
    return 0;
}

int channel_uri_parse(const char *uri, struct channel_uri *parsed, struct baton_error *error)
{
    const char *inner;
    int rc;

    memset(parsed, 0, sizeof(*parsed));
    if (!uri || !*uri)
        return baton_error_set(error, EINVAL,
                               "the URI is empty; write tcp:HOST:PORT, unix:PATH, file:PATH, "
                               "exec:COMMAND or fd:NUMBER");
    if (strlen(uri) >= BATON_URI_BYTES)
        return baton_error_set(error, EINVAL,
                               "the URI has %zu bytes, and may have %d; it begins with '%.40s'",
                               strlen(uri), BATON_URI_BYTES - 1, uri);
    rc = channel_chaos_parse(uri, &parsed->plan, &inner, error);
    if (rc)
        return rc;
    parsed->chaos = inner != uri;
    snprintf(parsed->name, sizeof(parsed->name), "%s", inner);
    if (strncmp(inner, "tcp:", 4) == 0)
        return parse_tcp(uri, inner + 4, parsed, error);
    if (strncmp(inner, "unix:", 5) == 0)
        return parse_unix(uri, inner + 5, parsed, error);
    if (strncmp(inner, "file:", 5) == 0)
        return parse_file(uri, inner + 5, parsed, error);
    if (strncmp(inner, "exec:", 5) == 0)
        return parse_exec(uri, inner + 5, parsed, error);
    if (strncmp(inner, "fd:", 3) == 0)
        return parse_fd(uri, inner + 3, parsed, error);
    return baton_error_set(
        error, EINVAL,
        "'%s' begins with no kind of address that is known; write tcp:HOST:PORT, "
        "unix:PATH, file:PATH, exec:COMMAND or fd:NUMBER",
        uri);
}

int channel_uri_check(const char *uri, struct baton_error *error)
{
    struct channel_uri parsed;

    return channel_uri_parse(uri, &parsed, error);
}

int channel_uri_is_one_way(const char *uri, bool *one_way, struct baton_error *error)
{
    struct channel_uri parsed;
    struct stat status;
    int rc = channel_uri_parse(uri, &parsed, error);

    if (rc)
        return rc;
    *one_way = CHANNEL_URI_IS_PLAIN(parsed.kind);
    if (parsed.kind != CHANNEL_URI_FD)
        return 0;
    if (fstat(parsed.fd, &status) < 0)
        return baton_error_set(error, EBADF, "'%s' is no open descriptor of this process", uri);
    *one_way = !S_ISSOCK(status.st_mode);
    return 0;
}
