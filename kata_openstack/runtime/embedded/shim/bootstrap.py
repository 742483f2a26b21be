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

"""Start a sandbox's daemon, and clean up after one.

Modules that the launch of the VM does not need are imported after it, so
that a sandbox starts fast.
"""

import hashlib
import os
import socket
import sys
import time
from typing import Any
from typing import NoReturn

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.shim import cleanup
from kata_openstack.runtime.embedded.shim import log
from kata_openstack.runtime.embedded.shim.oci import grouping
from kata_openstack.runtime.embedded.shim.oci import refusals
from kata_openstack.runtime.embedded.shim import start_failed
from kata_openstack.runtime.embedded.shim import state
from kata_openstack.runtime.embedded.shim.wire import messages
from kata_openstack.runtime.embedded.shim.wire import protobuf
from kata_openstack.runtime.embedded.vm import launch
from kata_openstack.runtime.embedded.vm import machine
from kata_openstack.runtime.embedded.vm import pod_cgroup
from kata_openstack.runtime.embedded.vm import size as sizes
from kata_openstack.runtime.embedded.vm.templates import template
from kata_openstack.runtime.embedded.vm import users
from kata_openstack.runtime.embedded.vm import vm_memory

# Files in the bundle: the path of the settings, which is all that the first
# releases wrote and read, and a copy of them.
_CONFIG = 'kata-embedded'
_SETTINGS = 'kata-embedded.json'
_SOCKET_LIMIT = 107


def read_options(data: bytes) -> str:
    """Return the path of the configuration file, '' for none.

    :param data: the shim's stdin: the handler's options as an Any. Old
        releases of containerd write nothing.
    """
    try:
        option = messages.ANY.decode(data)
        if option['type_url'].endswith(messages.OPTIONS_TYPE):
            return messages.OPTIONS.decode(option['value'])['config_path']
    except protobuf.DecodeError:
        pass
    return ''


def start(namespace: str, ident: str, debug: bool,
          config: dict[str, Any]) -> str:
    """Start the daemon; return its address.

    :param config: the sandbox's OCI config.
    :raises start_failed.StartFailed: with the cause and the remedy.
    """
    try:
        refusals.check_sandbox(config)
    except refusals.Refused as e:
        raise start_failed.StartFailed(str(e)) from e
    path = settings.locate(
        read_options(b'' if sys.stdin.isatty() else sys.stdin.buffer.read()))
    if grouping.annotations(config).get(settings.GUEST) == 'candidate':
        path = os.path.join(os.path.dirname(path), settings.CANDIDATE)
    try:
        conf = settings.Settings.load(path)
    except (OSError, ValueError) as e:
        raise start_failed.StartFailed(
            f'cannot use the configuration file {path}: {e}. Run '
            '"kata-openstack embedded prepare", and set ConfigPath of the '
            'handler to the file that it writes') from e
    if conf.outdated:
        raise start_failed.StartFailed(
            'another release of kata-openstack built the guest image. Run '
            '"kata-openstack embedded prepare"')
    _check_unique(conf, namespace, ident)
    with open(_CONFIG, 'w') as file:
        file.write(path)
    conf.save(_SETTINGS, durable=False)
    group = pod_cgroup.path_of(config, ident)
    try:
        size = sizes.choose(_asked(config), conf)
        vm_memory.ensure(conf)
        wanted = template.Template(conf, size)
        origin = wanted.open()
        if origin is None:
            # it imports asyncio, which is slow and seldom needed here
            from kata_openstack.runtime.embedded.vm.templates import make_template
            origin = make_template.ensure(wanted)
    except (sizes.TooBig, vm_memory.NoMemory, template.NotMade, OSError) as e:
        raise start_failed.StartFailed(str(e)) from e
    # again, because it takes long to make a template
    _check_unique(conf, namespace, ident)
    if os.path.exists(conf.sandbox_path(ident)):
        cleanup.clean_up(conf, ident, group)
    listener = _listen(conf, namespace, ident)
    address = listener.getsockname()
    if os.fork() == 0:
        _daemon(conf, namespace, ident, debug, config, group, size, origin,
                listener)
    return f'unix://{address}'


def _check_unique(conf: settings.Settings, namespace: str,
                  ident: str) -> None:
    """Check that no other namespace of containerd has a VM of this ID.

    Both would have the same files. containerd itself makes sure that an ID is
    unique in its namespace.

    :raises start_failed.StartFailed:
    """
    note = state.State.load(conf, ident)
    if note and note.namespace != namespace and cleanup.shim_lives(note):
        raise start_failed.StartFailed(
            f'the ID {ident} is in use in the containerd namespace '
            f'{note.namespace}, and kata-embedded needs IDs that are unique '
            'on the node; choose another')


def _asked(config: dict[str, Any]) -> dict[str, str]:
    """Return the resources of a pod, as containerd's annotations name them.

    A container that is its own sandbox, without CRI, has no annotations;
    then they are its limits.

    :param config: the OCI config of the sandbox.
    """
    if grouping.uses_cri(config):
        return grouping.annotations(config)
    limits = (config.get('linux') or {}).get('resources') or {}
    cpu = limits.get('cpu') or {}
    found = {sizes.MEMORY: (limits.get('memory') or {}).get('limit'),
             sizes.QUOTA: cpu.get('quota'), sizes.PERIOD: cpu.get('period')}
    return {key: str(value) for key, value in found.items() if value}


def _listen(conf: settings.Settings, namespace: str,
            ident: str) -> socket.socket:
    """Listen on a socket. Its name is a hash, as its path is limited."""
    folder = f'{conf.run_path}/s'
    os.makedirs(folder, mode=0o700, exist_ok=True)
    name = hashlib.sha256(f'{namespace}/{ident}'.encode()).hexdigest()[:16]
    path = f'{folder}/{name}'
    if len(path) > _SOCKET_LIMIT:
        raise start_failed.StartFailed(
            f'the socket path {path} is longer than {_SOCKET_LIMIT} '
            'characters; set a shorter run_path')
    machine.remove_file(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    return listener


def _daemon(conf: settings.Settings, namespace: str, ident: str,
            debug: bool, config: dict[str, Any], group: str,
            size: sizes.Size, origin: template.Files,
            listener: socket.socket) -> NoReturn:
    try:
        os.setsid()
        os.umask(0o022)
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        log.open_bundle(os.getcwd(), ident, debug or conf.debug)
        record = state.State(
            sandbox=ident, namespace=namespace,
            folder=conf.sandbox_path(ident), socket=listener.getsockname(),
            cgroup=group, ram=f'{conf.memory_path}/vm-{ident}',
            accelerator=conf.accelerator, memory_mib=size.memory_mib,
            vcpus=size.vcpus, shim=os.getpid(), image_key=conf.image_key,
            cpus=sizes.cpu_limit(_asked(config), size))
        vm, problem = _try_to_launch(conf, record, config, size, origin)
        from kata_openstack.runtime.embedded.shim import daemon
        os.chdir('/')
        sysctls = (config.get('linux') or {}).get('sysctl') or {}
        daemon.run(conf, record, vm, problem,
                   {'hostname': config.get('hostname') or '',
                    'sysctls': sysctls}, listener)
        cleanup.clean_up(conf, ident, group, namespace)
    except BaseException:
        log.exception('the shim failed')
    finally:
        os._exit(0)


def network_namespace(config: dict[str, Any]) -> str:
    """Return the path of the network namespace, '' for none."""
    for namespace in (config.get('linux') or {}).get('namespaces') or ():
        if namespace.get('type') == 'network':
            return namespace.get('path') or ''
    return ''


def _try_to_launch(conf: settings.Settings, record: state.State,
                   config: dict[str, Any], size: sizes.Size,
                   origin: template.Files
                   ) -> tuple[machine.Machine | None, str]:
    """Return the VM, or None and the reason, which containerd gets."""
    begun = time.monotonic()
    try:
        vm = _launch(conf, record, config, size, origin)
    except Exception as e:  # else containerd would learn no reason
        expected = isinstance(e, (OSError, launch.LaunchFailed,
                                  vm_memory.NoMemory, users.NoUserLeft))
        why = e if expected else f'{type(e).__name__}: {e}'
        problem = f'could not launch the VM: {why}'
        log.exception(problem)
        return None, problem
    log.debug(f'launched in {time.monotonic() - begun:.3f} s')
    return vm, ''


def _launch(conf: settings.Settings, record: state.State,
            config: dict[str, Any], size: sizes.Size,
            origin: template.Files) -> machine.Machine:
    os.makedirs(record.folder, mode=0o700)
    record.save()  # at once: it says to which namespace the folder belongs
    vm_memory.reserve(conf, record.sandbox, size.memory_mib)
    group = pod_cgroup.Cgroup(record.cgroup)
    group.create((size.memory_mib + sizes.HOST_OVERHEAD_MIB) * sizes.MIB)
    group.add(os.getpid())
    record.uid = users.take(conf, record.sandbox)
    record.save()
    vm = machine.Machine(conf, record.sandbox, record.folder, size,
                         record.uid)
    vm.launch(network_namespace(config), origin)
    record.qemu, record.virtiofsd = vm.qemu_pid, vm.virtiofsd_pid
    record.save()
    return vm


def delete(namespace: str, ident: str, bundle: str,
           config: dict[str, Any]) -> None:
    """Remove everything of a sandbox whose shim is gone."""
    try:
        cleanup.clean_up(_settings_of(bundle), ident,
                         pod_cgroup.path_of(config, ident), namespace)
    except (OSError, ValueError) as e:
        sys.stderr.write(f'could not clean up after sandbox {ident}: {e}\n')


def _settings_of(bundle: str) -> settings.Settings:
    """Return the settings with which a sandbox was started.

    The installed settings may have other paths by now, or be unreadable.

    :raises OSError, ValueError: there are none that can be read.
    """
    try:
        return settings.Settings.load(f'{bundle}/{_SETTINGS}')
    except (OSError, ValueError):
        pass
    try:
        with open(f'{bundle}/{_CONFIG}') as file:
            path = file.read()
    except OSError:
        path = settings.locate()
    return settings.Settings.load(path)
