/* SPDX-License-Identifier: MIT */
/*
 * docs/qmp.md and the tables of commands, argument by argument.
 *
 * The page has three tables between marks, which are the program's own words. argv[1] is the page;
 * with --write behind it the tables are written anew.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/human.h"

static bool of_the_vm(const struct qmp_command *command)
{
    return !(command->flags & QMP_OF_MIGRATION);
}

static bool of_migration(const struct qmp_command *command)
{
    return command->flags & QMP_OF_MIGRATION;
}

static void put_rows(FILE *out, bool (*wanted)(const struct qmp_command *command))
{
    fputs("| Command | Arguments | |\n|---|---|---|\n", out);
    for (const struct qmp_command *command = qmp_commands; command->name; command++) {
        char *arguments = qmp_arguments_text(command);

        if (wanted(command))
            fprintf(out, "| `%s` | %s%s| %s |\n", command->name, arguments, *arguments ? " " : "",
                    command->help);
        free(arguments);
    }
}

static void put_vm(FILE *out)
{
    put_rows(out, of_the_vm);
}

static void put_migration(FILE *out)
{
    put_rows(out, of_migration);
}

/* A bar would end the cell. */
static void put_escaped(FILE *out, const char *text)
{
    for (; *text; text++)
        fprintf(out, "%s%c", *text == '|' ? "\\" : "", *text);
}

static void put_human(FILE *out)
{
    fputs("| Command | | QMP |\n|---|---|---|\n", out);
    for (const struct human_command *command = human_commands; command->name; command++) {
        fprintf(out, "| `%s", command->name);
        if (*command->parameters_text)
            fputc(' ', out);
        put_escaped(out, command->parameters_text);
        fputc('`', out);
        if (command->alias)
            fprintf(out, ", `%s`", command->alias);
        fprintf(out, " | %s |", command->help);
        if (command->qmp)
            fprintf(out, " `%s`", command->qmp);
        fputs(" |\n", out);
    }
}

static const struct table {
    const char *name;
    void (*put)(FILE *out);
} tables[] = {{"vm", put_vm}, {"migration", put_migration}, {"human", put_human}};

static char *read_all(const char *path)
{
    char *text = NULL, chunk[4096];
    size_t length_bytes, got;
    FILE *in = fopen(path, "r"), *out = open_memstream(&text, &length_bytes);

    if (!in || !out) {
        perror(path);
        exit(1);
    }
    while ((got = fread(chunk, 1, sizeof(chunk), in)) > 0)
        fwrite(chunk, 1, got, out);
    fclose(in);
    fclose(out);
    return text;
}

/* The page with its tables as they should be. */
static char *renew(const char *page)
{
    char *text = NULL;
    size_t length_bytes;
    FILE *out = open_memstream(&text, &length_bytes);

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        char begin[80], end[80];
        const char *first, *last;

        snprintf(begin, sizeof(begin), "<!-- table %s: test-monitor-documents --write -->\n",
                 tables[i].name);
        snprintf(end, sizeof(end), "<!-- end of %s -->\n", tables[i].name);
        first = strstr(page, begin);
        last = first ? strstr(first, end) : NULL;
        if (!last) {
            fprintf(stderr, "the page has no table %s, or not in its place\n", tables[i].name);
            exit(1);
        }
        fwrite(page, 1, (size_t)(first - page) + strlen(begin), out);
        tables[i].put(out);
        page = last;
    }
    fputs(page, out);
    fclose(out);
    return text;
}

static void show_difference(const char *is, const char *should_be)
{
    size_t same = 0, line = 0;

    for (; is[same] && is[same] == should_be[same]; same++)
        if (is[same] == '\n')
            line = same + 1;
    fprintf(stderr, "the page says:\n  %.*s\nthe program says:\n  %.*s\n",
            (int)strcspn(is + line, "\n"), is + line, (int)strcspn(should_be + line, "\n"),
            should_be + line);
}

int main(int argc, char **argv)
{
    bool write = argc == 3 && strcmp(argv[2], "--write") == 0;
    char *page, *renewed;
    int result = 0;

    if (argc < 2)
        return 1;
    page = read_all(argv[1]);
    renewed = renew(page);
    if (write) {
        FILE *out = fopen(argv[1], "w");

        if (!out || fputs(renewed, out) < 0 || fclose(out))
            result = 1;
    } else if (strcmp(page, renewed) != 0) {
        show_difference(page, renewed);
        result = 1;
    }
    free(page);
    free(renewed);
    return result;
}
