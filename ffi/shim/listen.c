/*
 * listen.c - listens at an address that threads of this process may share, but
 * other processes may not. SO_REUSEPORT alone would let any process of the
 * user share it.
 */
#include "internal.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The address of an internet socket: IPv4 as IPv6 writes it. */
struct place {
	struct in6_addr address;
	uint32_t scope;
	uint16_t port;
	bool is_ipv4, is_any;
};

static bool place_of(const void *address, struct place *place)
{
	const struct sockaddr_in *in = address;
	const struct sockaddr_in6 *in6 = address;

	*place = (struct place){ .is_ipv4 = in->sin_family == AF_INET };
	if (place->is_ipv4) {
		place->port = in->sin_port;
		place->is_any = in->sin_addr.s_addr == INADDR_ANY;
		place->address.s6_addr16[5] = 0xffff;
		place->address.s6_addr32[3] = in->sin_addr.s_addr;
		return true;
	}
	if (in6->sin6_family != AF_INET6)
		return false;
	place->port = in6->sin6_port;
	place->scope = in6->sin6_scope_id;
	place->address = in6->sin6_addr;
	place->is_any = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	return true;
}

/* Tells whether two sockets cannot have these addresses unless they share. */
static bool collide(const struct place *a, bool a_only6, const struct place *b,
		    bool b_only6)
{
	if (a->port != b->port)
		return false;
	if ((a->is_ipv4 && b_only6) || (b->is_ipv4 && a_only6))
		return false;
	return a->is_any || b->is_any ||
	       (a->scope == b->scope &&
		!memcmp(&a->address, &b->address, sizeof(a->address)));
}

/* Tells whether an IPv6 socket takes no IPv4. */
static bool only_ipv6(int fd)
{
	return kio_option_get(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 1;
}

/*
 * Tells whether an fd of this process is a TCP socket in the way of `place`.
 * For the kernel that is one that listens, or has not set SO_REUSEADDR.
 * Connections inherit that from their listener.
 */
static bool in_the_way(int fd, const struct place *place, bool only6)
{
	struct sockaddr_storage address;
	struct place other;

	if (kio_option_get(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP ||
	    kio_socket_name(fd, false, &address) < 0 ||
	    !place_of(&address, &other))
		return false;
	return collide(place, only6, &other, only_ipv6(fd)) &&
	       (kio_option_get(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1 ||
		kio_option_get(fd, SOL_SOCKET, SO_REUSEADDR) == 0);
}

/* Tells whether a thread of this process has the address of `fd`. */
static bool is_our_address(int own_fd, const void *address)
{
	bool only6 = only_ipv6(own_fd), found = false;
	struct place place;
	struct dirent *entry;
	DIR *fds;

	/* port 0: the kernel has run out of ports */
	if (!place_of(address, &place) || place.port == 0)
		return false;
	fds = opendir("/proc/self/fd");
	while (fds && !found && (entry = readdir(fds))) {
		int fd = atoi(entry->d_name);

		found = fd != own_fd && in_the_way(fd, &place, only6);
	}
	if (fds)
		closedir(fds);
	return found;
}

/* One thread at a time: the next sees the address that the last has bound. */
static pthread_mutex_t listen_lock = PTHREAD_MUTEX_INITIALIZER;

/*
 * Binds and listens at an address that threads of this process may share, but
 * other processes may not. The socket first tries to have it alone. listen(2)
 * decides that for good: any listener, with SO_REUSEPORT or without, is in its
 * way. It shares only with listeners of this process. From then on those may
 * share with it.
 */
int kio_listen(int fd, const void *address, uint32_t length, int backlog)
{
	int ret;

	pthread_mutex_lock(&listen_lock);
	ret = kio_socket_bind(fd, address, length);
	if (!ret)
		ret = kio_socket_listen(fd, backlog);
	if (ret == -EADDRINUSE && is_our_address(fd, address)) {
		kio_option_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
		ret = kio_socket_bind(fd, address, length);
		/* EINVAL: it was bound, only listening failed */
		if (!ret || ret == -EINVAL)
			ret = kio_socket_listen(fd, backlog);
	} else if (!ret) {
		kio_option_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	}
	pthread_mutex_unlock(&listen_lock);
	return ret;
}
