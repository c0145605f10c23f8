/*
 * The core's header for SWIG, the same for every language.
 *
 * What is wrapped here is what a script may call as it is: the cold half of the API, flat functions named without their
 * prefix (pollring_poll_update is poll_update), made safe by the language's typemaps, which a language's own file has
 * to define before it includes this one:
 *   struct pollring *, struct pollring_poll *   take the language's Ring and Poll, and refuse a closed ring
 *   int fd                                      takes whatever the language calls a file
 *   int                                         as a result: a negative errno becomes the language's error
 *   struct pollring_stats *stats, struct pollring_probe *probe   as results: a table of their fields
 * What opens, closes, waits and hands out events is C by hand beside each language's file: it is hot, or it decides
 * about lifetimes.
 */
%rename("%(strip:[pollring_])s", %$isfunction) "";
%rename("%(strip:[POLLRING_])s", regextarget=1) "^POLLRING_";

%ignore pollring_options;
%ignore pollring_event;
%ignore pollring_open;
%ignore pollring_close;
%ignore pollring_explain;
%ignore pollring_check;
%ignore pollring_orphaned;
%ignore pollring_collect;
%ignore pollring_inbox_collect;
%ignore pollring_inbox_open;
%ignore pollring_inbox_close;
%ignore pollring_inbox_remove_fd;
%ignore pollring_take;
%ignore pollring_take_many;
%ignore pollring_wait;
%ignore pollring_next;
%ignore pollring_strevents;
%ignore pollring_strend;
%ignore pollring_strcause;
%ignore pollring_strsetup;
%ignore pollring_poll_add;
%ignore pollring_poll_add_to;
%ignore pollring_poll_free;
%ignore pollring_poll_owner;

typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
%include "pollring.h"

/* The bits of a mask, with the values of <poll.h> and <sys/epoll.h>. */
%constant unsigned POLLIN = POLLIN;
%constant unsigned POLLPRI = POLLPRI;
%constant unsigned POLLOUT = POLLOUT;
%constant unsigned POLLERR = POLLERR;
%constant unsigned POLLHUP = POLLHUP;
%constant unsigned POLLNVAL = POLLNVAL;
%constant unsigned POLLRDNORM = EPOLLRDNORM;
%constant unsigned POLLRDBAND = EPOLLRDBAND;
%constant unsigned POLLWRNORM = EPOLLWRNORM;
%constant unsigned POLLWRBAND = EPOLLWRBAND;
%constant unsigned POLLMSG = EPOLLMSG;
%constant unsigned POLLRDHUP = EPOLLRDHUP;
%constant unsigned EPOLLEXCLUSIVE = EPOLLEXCLUSIVE;
