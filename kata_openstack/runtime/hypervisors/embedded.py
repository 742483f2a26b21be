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

"""The runtime of this project: QEMU and a guest from the distribution.

It needs only packages of the distribution. It is the only hypervisor that can
use emulation (TCG), if the operator allows it.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
import shutil
import sys

from oslo_config import cfg

from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.vm import size as sizes
from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.host import report as hosts
from kata_openstack.runtime.hypervisors import base
from kata_openstack.runtime import launcher
from kata_openstack.runtime import pod_memory


class Embedded(base.Hypervisor):
    facts = base.Facts(
        handlers=(base.Handler(
            name='kata-embedded',
            runtime_type='io.containerd.kata-embedded.v2',
            offers=frozenset({'privileged', 'shared-fs',
                              'vm-template'})),),
        accelerators=(caps.KVM, caps.TCG),
        needs=(caps.QEMU, caps.VIRTIOFSD, caps.TUN),
        # the guest image and the probe's test guest exist only for this one
        architectures=frozenset({'x86_64'}),
        # QEMU, virtiofsd and the shim, in addition to the guest's memory
        overhead_mib=sizes.HOST_OVERHEAD_MIB,
        overhead_cpus=sizes.HOST_OVERHEAD_CPUS)

    def cost_mib(self, memory_mib: int, conf: cfg.ConfigOpts) -> int:
        largest = (conf.embedded.max_memory_mib
                   or pod_memory.for_pods_mib(conf))
        return (sizes.memory_mib(memory_mib, conf.embedded, largest)
                + self.facts.overhead_mib)

    def judge(self, handler: base.Handler, host: hosts.Host,
              capabilities: Mapping[str, caps.Capability],
              conf: cfg.ConfigOpts) -> base.Verdict:
        verdict = super().judge(handler, host, capabilities, conf)
        if not verdict.usable:
            return verdict
        path = config_path(conf)
        command = ('kata-openstack embedded prepare --accelerator '
                   f'{verdict.accelerator}')
        if not path.exists():
            return dataclasses.replace(
                verdict, remedy=f'Build its guest: {command}.')
        try:
            prepared = settings.Settings.load(str(path))
        except (OSError, ValueError) as e:
            return dataclasses.replace(
                verdict, usable=False, reason=f'cannot read {path}: {e}',
                remedy=f'Write the file again: {command}.')
        if prepared.outdated:
            return dataclasses.replace(
                verdict, usable=False,
                reason='another release of kata-openstack built its guest '
                       'image',
                remedy=f'Build it again: {command}.')
        if prepared.accelerator != verdict.accelerator:
            # or its VMs would be emulated, and count as isolated by hardware
            return dataclasses.replace(
                verdict, usable=False,
                reason=f'its guest was prepared for {prepared.accelerator}, '
                       f'but this node uses {verdict.accelerator}',
                remedy=f'Prepare it again: {command}.')
        return verdict

    def files(self, handler: base.Handler, host: hosts.Host,
              conf: cfg.ConfigOpts) -> base.Files | base.Problem:
        found = launcher.SHIM.find(config_path(conf).parent) or _script()
        if not found:
            return base.Problem(
                reason=f'{launcher.SHIM.name} is not installed',
                remedy='Install kata-openstack with pip, which creates this '
                       'script, or add the folder of the script to PATH.')
        return base.Files(runtime_path=found, config_path=config_path(conf))


def _script() -> pathlib.Path | None:
    """Return the path of the script that pip made.

    It is beside the interpreter; in a virtual environment, that folder may
    not be in PATH.
    """
    script = pathlib.Path(sys.executable).with_name(launcher.SHIM.name)
    found = script if script.is_file() else shutil.which(launcher.SHIM.name)
    return pathlib.Path(found) if found else None


def config_path(conf: cfg.ConfigOpts) -> pathlib.Path:
    """Return the path of the file that ``embedded prepare`` writes."""
    return (pathlib.Path(conf.state_path).absolute()
            / 'embedded' / settings.FILE)
