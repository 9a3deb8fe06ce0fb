/* SPDX-License-Identifier: MIT */
/* What dialing and listening share about sockets. Private to lib/channel. */
#ifndef CHANNEL_SOCKET_H
#define CHANNEL_SOCKET_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "channel/channel.h"

/* "tcp:ADDRESS:PORT" with the address as a number, IPv6 in brackets. */
void channel_socket_name(const struct sockaddr *address, socklen_t address_bytes,
                         char text[BATON_URI_BYTES]);

/* Sets what a connection wants: no delay, a congestion control that fits, detection of dead peers.
 */
void channel_socket_tune(int fd);

void channel_socket_unix_address(const char *path, struct sockaddr_un *address);

/* O_NONBLOCK on or off; 0 or -errno. */
int channel_socket_nonblocking(int fd, bool on);

#endif
