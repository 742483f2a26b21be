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

"""Writes the configuration files of all services."""

import json
import pathlib
import shutil
import subprocess
import tomllib
from typing import Any

import tomli_w

from kata_openstack.runtime import launcher
from tools.quickstart import graph
from tools.quickstart import process
from tools.quickstart import services
from tools.quickstart import settings

TEMPLATES = {
    'keystone.conf': 'keystone/keystone.conf',
    'placement.conf': 'placement/placement.conf',
    'glance-api.conf': 'glance/glance-api.conf',
    'neutron.conf': 'neutron/neutron.conf',
    'ml2.ini': 'neutron/ml2.ini',
    'zun.conf': 'zun/zun.conf',
    'kata.conf': 'kata-openstack/kata.conf',
    'registry.yml': 'registry.yml',
    'rabbitmq.conf': 'rabbitmq.conf',
    'cni.conflist': 'cni/10-kata-openstack.conflist',
    'hosts.toml': 'containerd/certs.d/_default/hosts.toml',
}

FOLDERS = ('glance/images', 'glance/staging', 'glance/tasks', 'neutron',
           'zun/images', 'rabbitmq', 'registry', 'cni/bin', 'kata')

# Folders in which distributions install the reference CNI plugins.
CNI_FOLDERS = ('/usr/lib/cni', '/opt/cni/bin', '/usr/libexec/cni')


def _files(stack: settings.Stack) -> None:
    for template, target in TEMPLATES.items():
        stack.render(template, stack.etc / target)
    settings.write_private(stack.etc / 'rabbitmq_plugins', '[].\n')
    for folder in FOLDERS:
        (stack.data / folder).mkdir(parents=True, exist_ok=True)
    cookie = stack.data / 'rabbitmq/.erlang.cookie'
    settings.write_private(cookie, stack.passwords['erlang'])
    cookie.chmod(0o400)


def _cni_plugins(stack: settings.Stack) -> None:
    """Add the CNI plugins: containerd uses loopback for lo, ours for eth0.

    :raises QuickstartError: if the loopback plugin is not installed.
    """
    loopback = next((pathlib.Path(folder, 'loopback')
                     for folder in CNI_FOLDERS
                     if pathlib.Path(folder, 'loopback').exists()), None)
    if loopback is None:
        raise settings.QuickstartError(
            f'No CNI plugin "loopback" in {", ".join(CNI_FOLDERS)}. Install '
            'the package containernetworking-plugins.')
    folder = stack.data / 'cni/bin'
    link = folder / loopback.name
    link.unlink(missing_ok=True)
    link.symlink_to(loopback)
    launcher.CNI.write(folder)


def cli(stack: settings.Stack, *arguments: str) -> str:
    """Run kata-openstack with the stack's configuration.

    :returns: its standard output.
    :raises QuickstartError: if it fails.
    """
    done = subprocess.run(
        [stack.program('kata-openstack'), '--config-file',
         str(stack.etc / 'kata-openstack/kata.conf'), *arguments],
        capture_output=True, text=True, env=stack.environment(),
        stdin=subprocess.DEVNULL)
    with open(stack.logs / 'kata-openstack.log', 'a') as log:
        log.write(done.stderr)
    if done.returncode:
        raise settings.QuickstartError(
            f'kata-openstack {" ".join(arguments)} failed with exit code '
            f'{done.returncode}:\n{(done.stderr or done.stdout).strip()}')
    return done.stdout


def _guest(stack: settings.Stack) -> str:
    """Create the guest image and VM template of the embedded runtime."""
    cli(stack, 'embedded', 'prepare')
    return 'guest image and VM template ready'


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Merge tables recursively; other values of ``second`` win."""
    result = dict(first)
    for key, value in second.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            value = merged(result[key], value)
        result[key] = value
    return result


def _containerd(stack: settings.Stack) -> str:
    """Write containerd's configuration as one file.

    An import would not do: containerd 1.6 replaces its own CRI section with
    the imported one instead of merging them.
    """
    _cni_plugins(stack)
    target = stack.etc / 'containerd/config.toml'
    stack.render('containerd.toml', target, restrict_oom_score_adj=str(
        services.restricted_oom()).lower())
    config = merged(tomllib.loads(target.read_text()),
                    tomllib.loads(cli(stack, 'containerd', 'show')))
    section = config['plugins']['io.containerd.grpc.v1.cri']['containerd']
    # containerd's default is runc, which must never run a tenant's container
    section['default_runtime_name'] = next(iter(section['runtimes']))
    settings.write_private(target, tomli_w.dumps(config))
    return f'handlers {", ".join(section["runtimes"])}'


def vsctl(stack: settings.Stack, *arguments: str) -> str:
    return process.run(stack, [
        'ovs-vsctl', '--timeout=20',
        f'--db=unix:{stack.run}/ovs/db.sock', *arguments], 'ovs-vsctl')


def _ovs_database(stack: settings.Stack) -> None:
    database = stack.data / 'ovs/conf.db'
    if not database.exists():
        process.run(stack, [
            'ovsdb-tool', 'create', str(database),
            '/usr/share/openvswitch/vswitch.ovsschema'], 'ovs-vsctl')


def _ovs_bridge(stack: settings.Stack) -> str:
    bridge = stack.integration_bridge
    vsctl(stack, '--may-exist', 'add-br', bridge, '--', 'set', 'bridge',
          bridge, 'datapath_type=netdev')
    return f'{bridge}, userspace datapath'


def steps(stack: settings.Stack) -> list[graph.Step]:
    return [
        graph.Step('files', lambda: _files(stack)),
        graph.Step('guest', lambda: _guest(stack), ('files',)),
        graph.Step('containerd files', lambda: _containerd(stack),
                   ('files', 'guest')),
        graph.Step('ovs database', lambda: _ovs_database(stack)),
        graph.Step('ovs schema',
                   lambda: vsctl(stack, '--no-wait', 'init') or None,
                   ('ovsdb',)),
        graph.Step('ovs bridge', lambda: _ovs_bridge(stack), ('vswitchd',)),
    ]


def sandbox_state(stack: settings.Stack) -> list[dict[str, object]]:
    """The embedded runtime's state of its VMs, one dictionary for each."""
    return [json.loads(path.read_text())
            for path in stack.run.glob('kata/**/state.json')]


def remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
