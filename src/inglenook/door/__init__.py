# SPDX-License-Identifier: Apache-2.0
"""What `api` and `web` share: who calls, what is refused at the threshold, errors as HTTP, streams of events.

frame.py        puts all of it around an application
caller.py       who is calling; every route depends on it, a written list is open
guard.py        Host, Origin, size of bodies, headers of every answer
problem.py      one table: kind of error → HTTP status
services.py     what the doors need of the services below them
sse.py          server-sent events
disconnect.py   the client that goes away while we work for it
"""
