# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The server that zun-wsproxy connects to.

It speaks the part of Docker's API that zun-wsproxy needs for an exec, and
WebSocket for an attach. Nothing but a session's secret opens anything.
"""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import contextlib
import json
import re
import socket
import ssl
from typing import Any
from urllib import parse

from oslo_log import log as logging

from kata_openstack.compute.console import frames
from kata_openstack.compute.console import heads
from kata_openstack.compute.console import peers
from kata_openstack.compute.console import relay
from kata_openstack.compute.console import sessions
from kata_openstack import exception

LOG = logging.getLogger(__name__)

# Seconds for a request, and between two
_REQUEST = 10.0
# Seconds for a process to end when this server stops. The next one goes on.
_STOP = 10.0
# Connections without a session; beyond this, the oldest is dropped
_WAITING = 64
# Seconds for which an attached user may not read. Until then, the container
# waits when it writes.
_PATIENCE = 60.0
# Bytes in the kernel, in each direction
_KERNEL = 256 * 1024
_VERSION = {'ApiVersion': '1.44', 'MinAPIVersion': '1.24',
            'Version': 'kata-openstack'}
_EXEC = re.compile(r'(?:/v[0-9.]{1,8})?/exec/([0-9a-f]{64})/start')
_UPGRADED = (('Content-Type', 'application/vnd.docker.raw-stream'),
             ('Connection', 'Upgrade'), ('Upgrade', 'tcp'))
_UNKNOWN = ('This terminal does not exist, or no longer: it was used, or it '
            'has expired, or kata-compute has restarted. Attach or run the '
            'command again.')
_STOPPING = ('kata-compute is stopping, which ends this terminal. Attach or '
             'run the command again.')
_FAULT = ('This terminal did not open, because of a fault of the node. Try '
          'again, or tell the operator, who finds the reason in the log of '
          'kata-compute.')

Opener = Callable[[sessions.Session], Awaitable[Any]]


class Server:
    """Serves from start() to stop(), in one event loop."""

    def __init__(self, sessions_: sessions.Sessions, opener: Opener) -> None:
        """:param opener: returns a relay.Target with close(), detach(),
            finish() and abandon(), as an execution.Execution has them, or
            raises KataError
        """
        self._sessions = sessions_
        self._opener = opener
        self._tls: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._waiting: dict[asyncio.StreamWriter, None] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending: set[asyncio.Task[Any]] = set()

    async def start(self, host: str, port: int,
                    tls: ssl.SSLContext | None = None) -> int:
        """:returns: the port

        :raises OSError: it cannot listen there.
        """
        self._tls = tls
        self._server = await asyncio.start_server(
            self._connected, host, port, limit=frames.CHUNK)
        for listener in self._server.sockets:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                listener.setsockopt(socket.SOL_SOCKET, option, _KERNEL)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Tell the users, and hang up."""
        if self._server:
            self._server.close()
        for tasks in (self._tasks, self._ending):
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader,
                         writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self._waiting[writer] = None
        if len(self._waiting) > _WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.transport.abort()
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError):
            pass
        except asyncio.CancelledError:
            pass  # stop() waits for the end of this task only
        except Exception:
            LOG.exception('A connection to the console failed')
        finally:
            self._waiting.pop(writer, None)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader,
                        writer: asyncio.StreamWriter) -> None:
        _notice_a_vanished_host(writer.get_extra_info('socket'))
        writer.transport.set_write_buffer_limits(high=2 * frames.CHUNK)
        if self._tls:
            async with asyncio.timeout(_REQUEST):
                await writer.start_tls(self._tls)
        http = heads.Connection(reader, writer)
        again = True
        while again:
            try:
                async with asyncio.timeout(_REQUEST):
                    request = await http.request()
                again = request is not None and await self._route(
                    http, request)
            except heads.BadRequest as e:
                await http.answer(400, {'message': str(e)})
                again = False
        await frames.close(reader, writer)

    async def _route(self, http: heads.Connection, request: heads.Request
                     ) -> bool:
        """Serve a request.

        :returns: whether another one may follow.
        """
        url = parse.urlsplit(request.target)
        wanted = _EXEC.fullmatch(url.path)
        if request.method == 'POST' and wanted:
            _check_start(request)
            received = await http.switch(_UPGRADED)
            await self._serve(http, wanted[1], sessions.EXEC, peers.Raw(
                http.reader, http.writer, received))
            return False
        if request.method == 'GET' and url.path == '/attach':
            token = parse.parse_qs(url.query).get('token', [''])[0]
            received = await http.switch(frames.accepted(request))
            await self._serve(http, token, sessions.ATTACH, peers.Socket(
                frames.WebSocket(http.reader, http.writer, False, received)))
            return False
        if request.method == 'GET' and url.path.endswith('/version'):
            return await http.answer(200, _VERSION)
        return await http.answer(404, {'message': 'page not found'})

    async def _serve(self, http: heads.Connection, secret: str, kind: str,
                     peer: peers.Peer) -> None:
        """Serve a user until the end.

        What goes wrong is shown on the terminal: zun-wsproxy passes no other
        answer on to the user.
        """
        try:
            session = self._sessions.open(secret, kind)
        except sessions.Full as e:
            await _say(peer, str(e))
            return
        if session is None:
            await _say(peer, _UNKNOWN)
            return
        self._waiting.pop(http.writer, None)
        try:
            end, counts = await self._use(peer, session)
        except BaseException:
            self._sessions.leave(secret)
            raise
        self._end(end, counts, secret, session)
        await peer.close()

    async def _use(self, peer: peers.Peer, session: sessions.Session
                   ) -> tuple[Callable[[], Awaitable[None]], bool]:
        """Serve one user of a session.

        :returns: what must be done afterwards, and whether the session
            counts until then.
        """
        try:
            target = await self._opener(session)
        except exception.KataError as e:
            LOG.info('A terminal of container %s did not open: %s',
                     session.container, e)
            await _say(peer, str(e))
            return _nothing, True
        except OSError as e:  # such as a full disk; not of the connection
            LOG.error('A terminal of container %s did not open: %s',
                      session.container, e)
            await _say(peer, _FAULT)
            return _nothing, True
        LOG.info('A terminal of container %s is open (%s)',
                 session.container, session.kind)
        try:
            end = await relay.Relay(
                peer, target, session.terminal, None
                if session.kind == sessions.EXEC else _PATIENCE).run()
        except asyncio.CancelledError:
            await _say(peer, _STOPPING)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP):
                    await target.abandon()
            raise
        except BaseException:
            await target.abandon()
            raise
        LOG.info('A terminal of container %s is closed: %s',
                 session.container, end.value)
        if end is relay.End.EXITED:
            return target.close, True
        if end is relay.End.DETACHED and target.detach():
            # for as long as the process likes
            return target.finish, False
        return target.abandon, True

    def _end(self, function: Callable[[], Awaitable[None]], counts: bool,
             secret: str, session: sessions.Session) -> None:
        """Do what is left.

        :param counts: the session does so until then.
        """
        def leave() -> None:
            if session.kind == sessions.EXEC:
                session.process = None
            self._sessions.leave(secret)

        async def end() -> None:
            try:
                await function()
            finally:
                if counts:
                    leave()

        if not counts:
            leave()
        self.remember(asyncio.create_task(end()))

    def remember(self, task: asyncio.Task[Any]) -> None:
        """Let a task end before stop() does; stop() cancels it."""
        self._ending.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and task.exception():
            LOG.error('A terminal was not closed', exc_info=task.exception())


async def _nothing() -> None:
    pass


async def _say(peer: peers.Peer, words: str) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_REQUEST):
            await peer.send(f'\r\n{words}\r\n'.encode()[:frames.CHUNK])
            await peer.close()


def _check_start(request: heads.Request) -> None:
    """:raises BadRequest: not what zun-wsproxy sends"""
    try:
        body = json.loads(request.body or b'{}')
        if body.get('Detach'):
            raise heads.BadRequest('A command cannot be started detached.')
    except (ValueError, AttributeError):
        raise heads.BadRequest('The body is no JSON object.') from None
    if 'upgrade' not in request.headers:
        raise heads.BadRequest('An upgrade of the connection is missing.')


def _notice_a_vanished_host(connection: socket.socket) -> None:
    for level, option, value in (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)):
        connection.setsockopt(level, option, value)
