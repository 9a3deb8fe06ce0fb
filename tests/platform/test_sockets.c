/* SPDX-License-Identifier: MIT */
/* What lib/channel takes for granted of sockets. */
#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* Two ends of a TCP connection over loopback. */
static void tcp_pair(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&address, bytes), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(ends[0], (struct sockaddr *)&address, bytes), 0);
    ends[1] = accept(listener, NULL, NULL);
    assert_true(ends[1] >= 0);
    close(listener);
}

/* Why a channel has a flag of its own: shutdown alone looks like the peer's orderly end... */
struct reader {
    pthread_t thread;
    int fd;
    ssize_t rc;
};

static void *run_reader(void *opaque)
{
    struct reader *self = opaque;
    char byte;

    self->rc = recv(self->fd, &byte, 1, 0);
    return NULL;
}

static void shutdown_makes_a_blocked_recv_return_zero(void **state)
{
    struct reader reader;
    int ends[2];

    tcp_pair(ends);
    reader.fd = ends[0];
    reader.rc = -1;
    assert_int_equal(pthread_create(&reader.thread, NULL, run_reader, &reader), 0);
    sleep_ms(20);
    shutdown(ends[0], SHUT_RDWR);
    pthread_join(reader.thread, NULL);
    assert_int_equal(reader.rc, 0);
    close(ends[0]);
    close(ends[1]);
}

/* ...and TCP goes on handing out what had arrived before. */
static void tcp_hands_out_bytes_after_a_shutdown(void **state)
{
    char buffer[8];
    int ends[2];

    tcp_pair(ends);
    assert_int_equal(send(ends[1], "RUN", 3, 0), 3);
    sleep_ms(20);
    shutdown(ends[0], SHUT_RDWR);
    assert_int_equal(recv(ends[0], buffer, sizeof(buffer), 0), 3);
    close(ends[0]);
    close(ends[1]);
}

static void bytes_that_were_sent_arrive_after_the_senders_shutdown(void **state)
{
    char buffer[8];
    int ends[2];

    tcp_pair(ends);
    assert_int_equal(send(ends[0], "RUN", 3, 0), 3);
    shutdown(ends[0], SHUT_RDWR);
    close(ends[0]);
    assert_int_equal(recv(ends[1], buffer, 3, MSG_WAITALL), 3);
    assert_int_equal(recv(ends[1], buffer, sizeof(buffer), 0), 0);
    close(ends[1]);
}

/* How a writer knows what may have left: what send() has taken can be read by the peer, after a
 * shutdown too, and nothing else. */
static void the_peer_can_read_exactly_what_send_has_taken(void **state)
{
    static char bytes[8 << 20];
    int fds[2];
    ssize_t sent, got;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    sent = send(fds[0], bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
    assert_true(sent > 0 &&
                (size_t)sent < sizeof(bytes)); /* a short count, not an error that hides it */
    assert_int_equal(send(fds[0], bytes, 1 << 20, MSG_DONTWAIT | MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EAGAIN);
    shutdown(fds[0], SHUT_RDWR);
    assert_int_equal(send(fds[0], bytes, 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
    while ((got = recv(fds[1], bytes, sizeof(bytes), 0)) > 0)
        sent -= got;
    assert_int_equal(got, 0);
    assert_int_equal(sent, 0);
    close(fds[0]);
    close(fds[1]);
}

static void a_socket_file_takes_its_mode_from_the_socket(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat status;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/baton-mode-%d", (int)getpid());
    unlink(address.sun_path);
    assert_int_equal(fchmod(fd, 0600), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(lstat(address.sun_path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    close(fd);
    /* The file outlives the listener, and connecting to it then is refused: what makes it known as
     * stale. */
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    unlink(address.sun_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shutdown_makes_a_blocked_recv_return_zero),
        cmocka_unit_test(tcp_hands_out_bytes_after_a_shutdown),
        cmocka_unit_test(bytes_that_were_sent_arrive_after_the_senders_shutdown),
        cmocka_unit_test(the_peer_can_read_exactly_what_send_has_taken),
        cmocka_unit_test(a_socket_file_takes_its_mode_from_the_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
