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

"""The RPC client of kata-compute.

zun-compute imports it, so it imports little itself.

Version history:

* 1.0: first version
* 1.1: top, pause_container, resize_container, wait_for_changes,
  attach_container, resize_terminal, create_exec, resize_exec, pack_archive,
  read_archive, open_archive, write_archive, unpack_archive, close_archive,
  import_image
"""

import time
from typing import Any

import oslo_messaging as messaging

from kata_openstack import exception

TOPIC = 'kata-compute'
# Set on both sides, because zun-compute's own control_exchange is 'zun'.
EXCHANGE = 'kata-openstack'
VERSION = '1.1'
# What a node must have for a call that asks for no later version. So a new
# zun-compute can use what an old node has, until that is upgraded, too.
OLDEST = '1.0'
# Of an endpoint that never changes, so that callers of each version can ask
# which version a node has.
VERSIONS = 'versions'

# oslo.messaging's, of a node that lacks the version or the method of a call
_MISMATCH = ('UnsupportedVersion', 'NoSuchMethod')
# Bytes of an archive in one request
ARCHIVE_PART = 2 * 1024 * 1024
# Seconds within which a node that works on a long call must send a heartbeat.
# The caller then notices a dead node long before the call's limit, and before
# zun-api gives up (rpc_response_timeout) and answers with an error 500.
_HEARTBEAT = 30
_MARGIN = 2  # seconds for the way of the heartbeat
# In a request's context: Unix seconds after which the node drops the request.
# The broker keeps requests for a node that is down, but callers do not wait.
VALID_UNTIL = 'valid_until'

Dict = dict[str, Any]


class ComputeAPI:
    """Calls kata-compute on ``host``; each method is one RPC call.

    They raise the classes of :mod:`kata_openstack.exception`, so create the
    transport with ``allowed_remote_exmods=[exception.__name__]``: among them
    NodeUnavailable if the node does not answer, VersionMismatch if it does
    not know a call, and RuntimeFailed for an error of any foreign class.

    :param timeout: seconds for calls that only read or send a signal
    :param long_timeout: seconds for calls that start or stop VMs, or pull
    """

    def __init__(self, transport: Any, *, timeout: int,
                 long_timeout: int) -> None:
        self._timeout = timeout
        self._long_timeout = long_timeout
        self._client = messaging.get_rpc_client(
            transport, messaging.Target(exchange=EXCHANGE, topic=TOPIC,
                                        version=OLDEST))

    def _call(self, ctxt: Dict, host: str, method: str, long: bool = False,
              extra_time: int = 0, needs: str | None = None,
              **kwargs: Any) -> Any:
        """:param needs: the version that a node must have; default: OLDEST"""
        if long:
            # oslo.messaging sends the first heartbeat half the time after
            # the dispatch. A request that is dispatched later than this
            # would be done although the caller has given up.
            patience = _HEARTBEAT / 2 - _MARGIN
            client = self._client.prepare(
                server=host, version=needs or OLDEST,
                timeout=self._long_timeout + extra_time,
                call_monitor_timeout=_HEARTBEAT)
        else:
            patience = self._timeout + extra_time
            client = self._client.prepare(server=host, version=needs or OLDEST,
                                          timeout=patience)
        try:
            return client.call(
                {**ctxt, VALID_UNTIL: time.time() + patience}, method,
                **kwargs)
        except messaging.MessagingTimeout as e:
            raise exception.NodeUnavailable(
                host=host, why=f'no answer to {method} in time') from e
        except (messaging.MessageDeliveryFailure,
                messaging.MessageUndeliverable) as e:
            raise exception.NodeUnavailable(host=host, why=str(e)) from e
        except messaging.RemoteError as e:
            if e.exc_type in _MISMATCH:
                raise self._mismatch(ctxt, host, method) from e
            raise exception.RuntimeFailed(
                operation=method,
                why=f'{e.exc_type} in kata-compute: {e.value}') from e
        except exception.KataError as e:
            raise _local(e) from None

    def _mismatch(self, ctxt: Dict, host: str,
                  method: str) -> exception.VersionMismatch:
        """Return the error for a call that the node does not know."""
        client = self._client.prepare(server=host, timeout=self._timeout,
                                      namespace=VERSIONS, version='1.0')
        try:
            told = str(client.call(ctxt, 'get_rpc_version'))
            newer = _number(told) > _number(VERSION)
        except (messaging.MessagingException, ValueError):
            # the first releases cannot tell it
            told, newer = 'unknown', False
        names = ['kata-compute', 'zun-compute']
        if newer:
            names.reverse()
        return exception.VersionMismatch(
            operation=method, host=host, older=names[0], newer=names[1],
            node=told, driver=VERSION)

    # The node

    def get_node_info(self, ctxt: Dict, host: str) -> Dict:
        return self._call(ctxt, host, 'get_node_info')

    # Images

    def pull_image(self, ctxt: Dict, host: str, reference: str, policy: str,
                   auth: Dict | None = None) -> Dict:
        """:param policy: 'always', 'ifnotpresent' or 'never'
        :param auth: {'server', 'username', 'password', 'shared'}; shared
            is True for credentials of the operator, which serve all
            projects. An image that was pulled with other credentials is
            bound to the project in ``ctxt``.
        """
        return self._call(ctxt, host, 'pull_image', long=True,
                          reference=reference, policy=policy, auth=auth)

    def import_image(self, ctxt: Dict, host: str, image_uuid: str,
                     file: str | None = None) -> Dict:
        """Import an image of Glance, unless the node has it.

        The caller vouches that Glance lets the project in ``ctxt`` use it.

        :param file: the name of an archive in the folder [compute]
            image_import_path, which starts with the UUID; None for an image
            that the node must have
        :raises ImageNotFound: without a file, if the node does not have it
        """
        return self._call(ctxt, host, 'import_image', long=True,
                          needs='1.1', image_uuid=image_uuid, file=file)

    def inspect_image(self, ctxt: Dict, host: str, reference: str) -> Dict:
        return self._call(ctxt, host, 'inspect_image', reference=reference)

    def delete_image(self, ctxt: Dict, host: str, image_id: str) -> None:
        self._call(ctxt, host, 'delete_image', image_id=image_id)

    # Pods

    def create_pod(self, ctxt: Dict, host: str, pod: Dict) -> Dict:
        return self._call(ctxt, host, 'create_pod', long=True, pod=pod)

    def start_pod(self, ctxt: Dict, host: str, pod: Dict) -> Dict:
        return self._call(ctxt, host, 'start_pod', long=True, pod=pod)

    def stop_pod(self, ctxt: Dict, host: str, pod_uuid: str,
                 timeout: int) -> Dict:
        """:param timeout: seconds between SIGTERM and SIGKILL"""
        return self._call(ctxt, host, 'stop_pod', long=True,
                          extra_time=timeout, pod_uuid=pod_uuid,
                          timeout=timeout)

    def restart_pod(self, ctxt: Dict, host: str, pod: Dict,
                    timeout: int) -> Dict:
        return self._call(ctxt, host, 'restart_pod', long=True,
                          extra_time=timeout, pod=pod, timeout=timeout)

    def delete_pod(self, ctxt: Dict, host: str, pod_uuid: str,
                   force: bool = False) -> None:
        self._call(ctxt, host, 'delete_pod', long=True, pod_uuid=pod_uuid,
                   force=force)

    def show_pod(self, ctxt: Dict, host: str, pod_uuid: str) -> Dict:
        return self._call(ctxt, host, 'show_pod', pod_uuid=pod_uuid)

    def list_pods(self, ctxt: Dict, host: str) -> list[Dict]:
        return self._call(ctxt, host, 'list_pods')

    def wait_for_changes(self, ctxt: Dict, host: str, epoch: str, since: int,
                         timeout: int) -> Dict:
        """Wait until containers have ended by themselves.

        :param epoch, since: of the last answer; '' and 0 at first
        :param timeout: seconds until an answer without changes
        :returns: {'epoch', 'since', 'pods': list of UUIDs, or None if any
            pod may have changed}
        """
        return self._call(ctxt, host, 'wait_for_changes', needs='1.1',
                          extra_time=timeout, epoch=epoch, since=since,
                          timeout=timeout)

    # Containers

    def kill_container(self, ctxt: Dict, host: str, container_uuid: str,
                       signal: str) -> None:
        self._call(ctxt, host, 'kill_container',
                   container_uuid=container_uuid, signal=signal)

    def logs(self, ctxt: Dict, host: str, container_uuid: str,
             stdout: bool = True, stderr: bool = True,
             timestamps: bool = False, tail: int | None = None,
             since: float | None = None) -> str:
        """:param since: Unix seconds"""
        return self._call(
            ctxt, host, 'logs', container_uuid=container_uuid, stdout=stdout,
            stderr=stderr, timestamps=timestamps, tail=tail, since=since)

    def exec_sync(self, ctxt: Dict, host: str, container_uuid: str,
                  command: list[str], timeout: int = 0) -> Dict:
        """:param timeout: seconds until the command is killed; 0: no limit
        :returns: {'output': str, 'exit_code': int}
        """
        return self._call(ctxt, host, 'exec_sync', long=True,
                          extra_time=timeout, container_uuid=container_uuid,
                          command=command, timeout=timeout)

    def attach_container(self, ctxt: Dict, host: str, container_uuid: str
                         ) -> dict[str, str]:
        """:returns: {'url'} of the terminal, with a secret in it"""
        return self._call(ctxt, host, 'attach_container', needs='1.1',
                          container_uuid=container_uuid)

    def resize_terminal(self, ctxt: Dict, host: str, container_uuid: str,
                        height: int, width: int) -> None:
        self._call(ctxt, host, 'resize_terminal', needs='1.1',
                   container_uuid=container_uuid, height=height, width=width)

    def create_exec(self, ctxt: Dict, host: str, container_uuid: str,
                    command: list[str], interactive: bool
                    ) -> dict[str, str]:
        """Prepare a command that runs when its user connects.

        :param interactive: with a terminal and with input
        :returns: {'exec_id', which is secret, 'url' of the server}
        """
        return self._call(ctxt, host, 'create_exec', needs='1.1',
                          container_uuid=container_uuid, command=command,
                          interactive=interactive)

    def resize_exec(self, ctxt: Dict, host: str, exec_id: str, height: int,
                    width: int) -> None:
        self._call(ctxt, host, 'resize_exec', needs='1.1',
                   exec_id=exec_id, height=height, width=width)

    def stats(self, ctxt: Dict, host: str, container_uuid: str) -> Dict:
        return self._call(ctxt, host, 'stats', container_uuid=container_uuid)

    def top(self, ctxt: Dict, host: str, container_uuid: str,
            arguments: str = '') -> Dict:
        """:param arguments: of ps; '' for -ef
        :returns: {'Titles': [...], 'Processes': [[...]]}
        """
        return self._call(ctxt, host, 'top', needs='1.1',
                          container_uuid=container_uuid,
                          arguments=arguments)

    def resize_container(self, ctxt: Dict, host: str, container_uuid: str,
                         cpus: float | None, memory_mib: int | None,
                         check_only: bool = False) -> None:
        """:param cpus, memory_mib: None leaves the limit as it is
        :param check_only: only raise the error that the change would raise
        """
        self._call(ctxt, host, 'resize_container', needs='1.1',
                   container_uuid=container_uuid, cpus=cpus,
                   memory_mib=memory_mib, check_only=check_only)

    def pause_container(self, ctxt: Dict, host: str, container_uuid: str,
                        paused: bool) -> None:
        """:param paused: False unpauses it"""
        self._call(ctxt, host, 'pause_container', needs='1.1',
                   container_uuid=container_uuid, paused=paused)

    # Archives of files; container_uuid is that of all other calls for it

    def pack_archive(self, ctxt: Dict, host: str, container_uuid: str,
                     path: str, limit_mib: int) -> Dict:
        """Pack a path of a container; close the archive in the end.

        :returns: {'archive_id', 'size': bytes, 'stat': {'name', 'size',
            'mode', 'mtime', 'linkTarget'}}
        """
        return self._call(ctxt, host, 'pack_archive', long=True,
                          needs='1.1', container_uuid=container_uuid,
                          path=path, limit_mib=limit_mib)

    def read_archive(self, ctxt: Dict, host: str, container_uuid: str,
                     archive_id: str, offset: int) -> str:
        """:returns: some bytes from ``offset`` on in base64; '' at the end
        """
        return self._call(ctxt, host, 'read_archive', needs='1.1',
                          container_uuid=container_uuid,
                          archive_id=archive_id, offset=offset)

    def open_archive(self, ctxt: Dict, host: str, container_uuid: str) -> str:
        """Begin with an archive to unpack; close it in the end.

        :returns: archive_id
        """
        return self._call(ctxt, host, 'open_archive', needs='1.1',
                          container_uuid=container_uuid)

    def write_archive(self, ctxt: Dict, host: str, container_uuid: str,
                      archive_id: str, offset: int,
                      archive_data: str) -> None:
        """:param archive_data: at most ARCHIVE_PART bytes in base64"""
        self._call(ctxt, host, 'write_archive', needs='1.1',
                   container_uuid=container_uuid, archive_id=archive_id,
                   offset=offset, archive_data=archive_data)

    def unpack_archive(self, ctxt: Dict, host: str, container_uuid: str,
                       archive_id: str, path: str) -> None:
        """:param path: an existing folder in the container"""
        self._call(ctxt, host, 'unpack_archive', long=True,
                   needs='1.1', container_uuid=container_uuid,
                   archive_id=archive_id, path=path)

    def close_archive(self, ctxt: Dict, host: str, container_uuid: str,
                      archive_id: str) -> None:
        self._call(ctxt, host, 'close_archive', needs='1.1',
                   container_uuid=container_uuid, archive_id=archive_id)


def _number(version: str) -> list[int]:
    """:raises ValueError: if it is no version"""
    return [int(part) for part in version.split('.')]


def _local(error: exception.KataError) -> exception.KataError:
    """Return the error as the node raised it.

    oslo.messaging appends the remote traceback to the message of an error
    that it rebuilds. A tenant would then see it in status_reason.
    """
    kind = getattr(exception, type(error).__name__.removesuffix('_Remote'),
                   exception.KataError)
    local = kind(error.args[0] if error.args else str(error))
    local.kwargs = error.kwargs
    return local
