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

"""crosvm, an example of a hypervisor plugin in a separate package.

There is no such shim; its facts are only an example of the format.
"""

import pathlib
import shutil

from oslo_config import cfg

from kata_openstack.runtime.host import capabilities as caps
from kata_openstack.runtime.host import report as hosts
from kata_openstack.runtime.hypervisors import base

SHIM = 'containerd-shim-kata-crosvm-v2'
CONFIG = pathlib.Path('/etc/kata-crosvm/configuration.toml')


class Crosvm(base.Hypervisor):
    facts = base.Facts(
        handlers=(base.Handler(
            name='kata-crosvm',
            runtime_type='io.containerd.kata-crosvm.v2',
            offers=frozenset({'block-volume', 'privileged', 'shared-fs'})),),
        accelerators=(caps.KVM,),
        kvm_needs=(caps.KVM_USER_MEMORY, caps.KVM_IOEVENTFD),
        needs=(caps.VHOST_VSOCK, caps.TUN),
        architectures=frozenset({'x86_64', 'aarch64'}),
        overhead_mib=130,
        overhead_cpus=0.25,
        max_vcpus=64)

    def files(self, handler: base.Handler, host: hosts.Host,
              conf: cfg.ConfigOpts) -> base.Files | base.Problem:
        shim = shutil.which(SHIM)
        if shim is None:
            return base.Problem(reason=f'{SHIM} is not installed',
                                remedy='Install it in a folder in PATH.')
        return base.Files(runtime_path=pathlib.Path(shim),
                          config_path=CONFIG)
