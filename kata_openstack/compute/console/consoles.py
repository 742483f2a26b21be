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

"""Terminals in containers: attach, and commands that a user talks to."""

import asyncio
from collections.abc import Sequence
import contextlib
import pathlib
import shutil
import ssl
import threading
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack.compute.console import channels
from kata_openstack.compute.console import execution
from kata_openstack.compute.console import server
from kata_openstack.compute.console import sessions
from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import start_error
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd import processes

LOG = logging.getLogger(__name__)

# Characters: a command is kept until its user connects.
_COMMAND_MAX = 64 * 1024
_RESIZE = 15  # seconds


class Consoles:
    """Hands out sessions, and serves them in a thread of its own.

    Thread-safe.
    """

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 native_: native.NativeClient,
                 containers_: containers.Containers) -> None:
        self._conf = conf
        self._client = client
        self._native = native_
        self._containers = containers_
        self._folder = pathlib.Path(conf.run_path).absolute() / 'console'
        self._sessions = sessions.Sessions(conf.console.session_timeout,
                                           conf.console.max_sessions)
        self._url = ''  # '' while the server does not run
        self._why = 'it has not started'
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. A failure is logged, and ends no other part."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(ready)), name='console',
            daemon=True)
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        """End all terminals."""
        if self._thread and self._loop:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    async def _run(self, ready: threading.Event) -> None:
        conf = self._conf.console
        self._loop = asyncio.get_running_loop()
        self._api = processes.Processes(self._conf)
        try:
            served = server.Server(self._sessions, self._open)
            try:
                port = await served.start(
                    conf.host, conf.port, _tls(conf.cert_file, conf.key_file))
            except (OSError, OverflowError) as e:
                self._why = str(e)
                LOG.error('The console does not listen on %s, port %s, so '
                          'that users cannot attach: %s', conf.host,
                          conf.port, e)
            else:
                self._url = conf.base_url.rstrip('/') or (
                    f'{"https" if conf.cert_file else "http"}://'
                    f'{_in_url(conf.host)}:{port}')
            for folder in execution.folders(self._folder):
                self._adopt(served, folder)
            ready.set()
            await self._stopping.wait()
            self._url, self._why = '', 'it is stopping'
            await served.stop()
        except Exception as e:
            self._why = str(e)
            LOG.exception('The console has failed')
        finally:
            ready.set()
            self._url = ''
            self._api.close()

    def _adopt(self, served: server.Server, folder: pathlib.Path) -> None:
        """End a process whose terminal was lost when kata-compute ended."""
        try:
            process = execution.Execution.adopt(self._api, folder)
        except OSError as e:
            # kata-compute ended before it had asked for the process
            LOG.warning('Removed an incomplete terminal: %s', e)
            shutil.rmtree(folder, ignore_errors=True)
            return
        served.remember(asyncio.create_task(
            process.finish() if process.detached else process.abandon()))

    # Sessions

    def attach(self, container_uuid: str, project: str | None
               ) -> dict[str, str]:
        """Prepare a terminal of a container's first process.

        :returns: {'url'}. It is secret: everybody who knows it can use
            the terminal.
        :raises Conflict: the container does not run.
        """
        url = self._base()
        container = self._containers.running(container_uuid)
        process = self._native.spec(container.id).get('process') or {}
        secret = self._sessions.add(sessions.Session(
            sessions.ATTACH, project, container_uuid, container.id,
            terminal=bool(process.get('terminal')), stdin=True))
        return {'url': f'ws{url.removeprefix("http")}/attach?token={secret}'}

    def create_exec(self, container_uuid: str, project: str | None,
                    command: Sequence[str], interactive: bool
                    ) -> dict[str, str]:
        """Prepare a command. Nothing runs before its user connects.

        :returns: {'exec_id', 'url'}. They are secret: everybody who knows
            both can run the command, once.
        :raises Conflict: the container does not run, or is paused.
        :raises InvalidInput: the command is empty or too long.
        """
        url = self._base()
        length = sum(map(len, command))
        if not command or length > _COMMAND_MAX:
            raise exception.InvalidInput(
                field='command', value=f'of {length} characters',
                why=f'it must have 1 to {_COMMAND_MAX} characters',
                remedy='Put a long command into a script.')
        container = self._containers.running(container_uuid)
        self._containers.refuse_paused(container)
        exec_id = self._sessions.add(sessions.Session(
            sessions.EXEC, project, container_uuid, container.id,
            terminal=interactive, stdin=interactive, command=list(command)))
        return {'exec_id': exec_id, 'url': url}

    def _base(self) -> str:
        """:raises RuntimeFailed: the server does not run"""
        if not self._url:
            raise exception.RuntimeFailed(
                operation='The console', why=f'on this node: {self._why}')
        return self._url

    def whose(self, exec_id: str) -> tuple[str | None, str]:
        """Return the project and the container of a command.

        :raises InvalidInput: the terminal does not exist, or no longer.
        """
        session = self._find(exec_id)
        return session.project, session.container

    def _find(self, exec_id: str) -> sessions.Session:
        session = self._sessions.find(exec_id)
        if session is None or session.kind != sessions.EXEC:
            raise exception.InvalidInput(
                field='exec ID', value=f'{exec_id[:8]}...',
                why='the terminal does not exist, or no longer',
                remedy='Run the command again.')
        return session

    def resize_exec(self, exec_id: str, height: int, width: int) -> None:
        """Set the size of a command's terminal, also before it runs.

        :raises InvalidInput: the terminal does not exist, or no longer.
        """
        session = self._find(exec_id)
        if not height or not width:
            return
        session.size = (height, width)
        if session.process and self._loop:
            with contextlib.suppress(exception.NotFound, TimeoutError):
                asyncio.run_coroutine_threadsafe(
                    session.process.resize(height, width),
                    self._loop).result(_RESIZE)

    # The process behind a session

    async def _open(self, session: sessions.Session) -> Any:
        """:raises KataError:"""
        if session.kind == sessions.ATTACH:
            return await channels.Attached.connect(await asyncio.to_thread(
                self._client.attach, session.container_id, session.terminal))
        spec = await asyncio.to_thread(self._native.spec,
                                       session.container_id)
        size = session.size
        try:
            process = await execution.Execution.start(
                self._api, self._folder, session.container_id,
                _process(spec.get('process') or {}, session), session.stdin,
                size)
        except exception.RuntimeFailed as e:
            missing = start_error.missing_command(str(e))
            if missing is None:
                raise
            raise exception.KataError(
                f'{missing or session.command[0]}: command not found') from e
        session.process = process
        if session.terminal and session.size:
            # it may have come meanwhile, or be unknown to upstream Kata
            with contextlib.suppress(exception.KataError):
                await process.resize(*session.size)
        return process


def _process(first: dict[str, Any], session: sessions.Session
             ) -> dict[str, Any]:
    """Return a process like the container's first, with another command."""
    process = {**first, 'args': session.command,
               'terminal': session.terminal}
    process.pop('consoleSize', None)
    process.pop('commandLine', None)
    env = list(process.get('env') or [])
    if session.terminal and not any(e.startswith('TERM=') for e in env):
        env.append('TERM=xterm')
    return {**process, 'env': env}


def _tls(cert_file: str, key_file: str) -> ssl.SSLContext | None:
    """:raises OSError: a file is missing or damaged"""
    if not cert_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert_file, key_file or None)
    except OSError as e:  # it names no file
        raise OSError(f'{cert_file} or {key_file or "the key in it"}: {e}'
                      ) from e
    return context


def _in_url(host: str) -> str:
    return f'[{host}]' if ':' in host else host
