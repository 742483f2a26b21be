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

"""Run in L1: the canary and one pod of the embedded runtime with KVM."""

import json
import os
import pathlib
import sys
import time
from typing import Any

from oslo_config import cfg

from kata_openstack.compute import canaries
from kata_openstack.conf import opts
from kata_openstack.runtime.canary import records
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded.image import preparation
from kata_openstack.runtime import node
from tests.functional import containerd
from tests.functional import images


def configuration(package: str, state_path: str) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    opts.register_opts(conf)
    conf([], default_config_files=[])
    conf.set_override('state_path', state_path)
    conf.set_override('run_path', '/run/kata')
    conf.set_override('kernel_package', package, 'embedded')
    return conf


def run_canary(conf: cfg.ConfigOpts, service: containerd.Containerd,
               here: node.Node) -> dict[str, Any]:
    """Return the handlers offered after the canary, and its records."""
    conf.set_override('address', service.address, 'containerd')
    conf.set_override('wait', 300, 'canary')
    tried = canaries.Canaries(conf, service.client, here, lambda: None)
    known = tried.start()
    runtimes = here.runtimes(service.client.handlers())
    tried.stop()
    found = records.load(records.path(conf))
    return {'known': known, 'runtimes': runtimes,
            'left': len(service.client.list_pod_sandboxes()),
            'handlers': {k: r.to_dict() for k, r in found.items()}}


def run_pod(service: containerd.Containerd, handler: str) -> tuple[str, str]:
    """:returns: the sandbox's and the container's id"""
    logs = service.root / 'logs'
    logs.mkdir()
    sandbox_config = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name='pod', uid='pod',
                                       namespace='test'),
        hostname='pod', log_directory=str(logs),
        linux=pb.LinuxPodSandboxConfig())
    sandbox = service.client.run_pod_sandbox(sandbox_config, handler)
    container = service.client.create_container(sandbox, pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name='main'),
        image=pb.ImageSpec(image=images.BUSYBOX),
        command=['sleep', '600'], log_path='main.log',
        linux=pb.LinuxContainerConfig()), sandbox_config)
    service.client.start_container(container)
    return sandbox, container


def main(package: str, state_path: str) -> None:
    """Print one JSON object with what host, sandbox and guest say.

    :param state_path: may hold a kernel and a guest image that were
        prepared before
    """
    conf = configuration(package, state_path)
    here = node.Node(conf)
    choice = here.choose('kata', [])
    begin = time.monotonic()
    preparation.prepare(conf, choice.accelerator,
                     lambda text: print(text, file=sys.stderr))
    prepared = time.monotonic()
    handlers = containerd.handlers(conf, here.files())
    with containerd.Containerd(handlers) as service:
        canary = run_canary(conf, service, here)
        begin_pod = time.monotonic()
        sandbox, container = run_pod(service, choice.handler)
        running = time.monotonic()
        told = service.client.exec_sync(container, [
            'cat', '/proc/sys/kernel/osrelease',
            '/proc/sys/kernel/random/boot_id',
            '/sys/devices/system/clocksource/clocksource0/'
            'available_clocksource'])
        release, boot_id, *clocks = told.stdout.decode().split()
        state = pathlib.Path(conf.run_path, 'embedded', sandbox,
                             'state.json')
        print(json.dumps({
            'handler': choice.handler, 'reason': choice.reason,
            'accelerator': choice.accelerator, 'canary': canary,
            'state': json.loads(state.read_text()),
            'host': {'release': os.uname().release, 'boot_id': pathlib.Path(
                '/proc/sys/kernel/random/boot_id').read_text().strip()},
            'guest': {'release': release, 'boot_id': boot_id,
                      'clocks': clocks},
            'prepare_seconds': prepared - begin,
            'pod_seconds': running - begin_pod}))
