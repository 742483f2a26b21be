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

"""A guest whose agent attacks the shim.

It is our agent, with methods that ``exec evil NAME`` calls. A tenant who is
root in the VM can replace the agent by a program like this one.
"""

import dataclasses
import pathlib
import shutil
from unittest import mock

import kata_openstack
from kata_openstack.runtime.embedded.common import settings
from kata_openstack.runtime.embedded.image import guest_image
from kata_openstack.runtime.embedded.image import kernel

# Becomes a part of the agent's main module, in a copy of our package.
_EVIL = '''

class Evil(Agent):
    lies = None

    def _on_call(self, ident, call):
        args = call.get('process_spec', {}).get('args', [''])
        if call['do'] == 'exec' and args[0] == 'evil':
            getattr(self, 'evil_' + args[1])(ident, call)
        elif call['do'] == 'stats' and self.lies is not None:
            self._reply(ident, **self.lies)
        else:
            super()._on_call(ident, call)

    def at_once(self, data):
        """Send bytes without a look at what the shim wants."""
        self._out += data
        os.set_blocking(self._port, True)
        while self._out:
            del self._out[:os.write(self._port, self._out[:32768])]
        os.set_blocking(self._port, False)

    def evil_silence(self, ident, call):
        while True:
            time.sleep(1000)

    def evil_flood(self, ident, call):
        frames = protocol.frame(protocol.STDOUT, call['ident']) * 3000
        while True:
            self.at_once(frames)

    def evil_death(self, ident, call):
        os._exit(0)  # the kernel panics: this is PID 1

    def evil_reboot(self, ident, call):
        system.write('/proc/sysrq-trigger', 'b')

    def evil_length(self, ident, call):
        self.at_once(protocol.HEAD.pack(0xffffffff, protocol.STDOUT, 1))

    def evil_json(self, ident, call):
        self.at_once(protocol.frame(
            protocol.REPLY, ident, b'[' * (protocol.MAX_FROM_GUEST - 1)))

    def evil_output(self, ident, call):
        """Far more than the window, and no process that wrote it."""
        self._reply(ident, pid=7)
        chunk = b'x' * protocol.CHUNK
        while True:
            self.at_once(protocol.frame(
                protocol.STDOUT, call['ident'], chunk))

    def evil_error(self, ident, call):
        self._reply(ident, error='\\x1b[2J\\n\\0' + 'evil ' * 10000)

    def evil_exits(self, ident, call):
        """All processes that there could be have ended, many times."""
        for _ in range(20):
            self.at_once(b''.join(
                protocol.frame(protocol.EXIT, number,
                               protocol.STATUS.pack(0, 1))
                for number in range(call['ident'])))
        self._reply(ident, error='done')

    def evil_oom(self, ident, call):
        for name in (b'../../../etc', b'\\xff' * 60000, b'', b'\\0\\n') * 50:
            self.at_once(protocol.frame(protocol.OOM, 0, name))
        self._reply(ident, error='done')

    def evil_figures(self, ident, call):
        self.lies = {
            'pids.current': -5, 'pids.max': 'many', 'memory.current': 1e300,
            'memory.max': [], 'memory.swap.max': None,
            'cpu.stat': {'usage_usec': 1 << 200, 'nr_periods': {}},
            'memory.stat': 'none', 'memory.events': {'oom': float('nan')},
            'cpu.pressure': {'some': {'avg10': float('nan'), 'total': -1}},
            'memory.pressure': {'full': {'avg60': 1e300, 'total': 1 << 99}},
            'io.pressure': {'some': [], 'full': {'avg300': 'x', 'evil': 1}}}
        self._reply(ident, error='done')


Agent = Evil
'''


def configuration(usual: settings.Settings, folder: pathlib.Path) -> None:
    """Build the image, and write a configuration embedded.json for it.

    :param usual: the settings of a node that is prepared.
    :param folder: an empty one, where also the pods will be.
    """
    package = pathlib.Path(kata_openstack.__file__).parent
    shutil.copytree(package, folder / package.name,
                    ignore=shutil.ignore_patterns('__pycache__'))
    agent = (folder / package.name / 'runtime' / 'embedded' / 'agent'
             / 'main.py')
    agent.write_text(agent.read_text() + _EVIL)
    state = pathlib.Path(usual.state_path)
    unpacked = state / pathlib.Path(usual.kernel).relative_to(state).parts[0]
    listing = guest_image._LIST_FILES.replace(
        repr(str(package.parent)), repr(str(folder)))
    with (mock.patch.object(guest_image, '_PACKAGE', folder),
          mock.patch.object(guest_image, '_LIST_FILES', listing)):
        key, initrd = guest_image.build(
            kernel.Kernel(unpacked), folder, lambda text: None)
    initrd.chmod(0o644)
    dataclasses.replace(usual, initrd=str(initrd), image_key=key,
                        run_path=str(folder)).save(
                            str(folder / 'embedded.json'))
