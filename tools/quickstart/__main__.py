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

"""The program that tools/quickstart.sh runs: python -m tools.quickstart."""

import argparse
import os
import pathlib
import shlex
import sys

from tools.quickstart import cleanup
from tools.quickstart import configuration
from tools.quickstart import databases
from tools.quickstart import graph
from tools.quickstart import identity
from tools.quickstart import images

from tools.quickstart import readiness
from tools.quickstart import services
from tools.quickstart import settings
from tools.quickstart import status


def steps(stack: settings.Stack) -> list[graph.Step]:
    """All steps from an empty folder to a stack that accepts containers."""

    def service_step(service: services.Service) -> graph.Step:
        return graph.Step(service.name,
                          lambda: services.start(stack, service),
                          service.needs)

    return [
        *configuration.steps(stack),
        *databases.steps(stack),
        *map(service_step, services.all_services(stack)),
        graph.Step('identity', lambda: identity.register(stack),
                   ('keystone',)),
        graph.Step('network', lambda: identity.network(stack),
                   ('neutron-api', 'identity')),
        graph.Step('images', lambda: images.build_and_push(stack),
                   ('registry',)),
        graph.Step('ready', lambda: readiness.wait(stack),
                   ('zun-api', 'zun-compute', 'ovs-agent', 'network',
                    'images', 'glance', 'zun-wsproxy')),
    ]


def up(stack: settings.Stack, progress: graph.Progress,
       prove: bool) -> None:
    graph.run_all(steps(stack), progress)
    if prove:
        progress.say('Starting two containers with '
                     '"openstack appcontainer run":')
        # imported late: the other commands do not need its modules
        from tools.quickstart import proof
        print(proof.take(stack, os.environ.get('QUICKSTART_COMMAND',
                                               'quickstart.sh')))


def start_one(stack: settings.Stack, name: str,
              progress: graph.Progress) -> None:
    """Run a step after its dependencies; services that run are kept.

    :param name: a service, or any other step: "network" creates the network
        again.
    :raises QuickstartError: if the name is unknown or a step fails.
    """
    needed: dict[str, graph.Step] = {}
    by_name = {step.name: step for step in steps(stack)}
    todo = [name]
    if name not in by_name:
        services.by_name(stack, name)
    while todo:
        step = by_name[todo.pop()]
        if step.name not in needed:
            needed[step.name] = step
            todo += [need for need in step.needs if need in by_name]
    graph.run_all(list(needed.values()), progress)


def print_environment(stack: settings.Stack) -> None:
    for name, value in stack.cloud_environment().items():
        print(f'export {name}={shlex.quote(value)}')
    print(f'export PATH={shlex.quote(str(stack.bin))}:"$PATH"')
    conf = shlex.quote(str(stack.etc / 'kata-openstack/kata.conf'))
    # without --config-file it reads the configuration of an installed node
    print('kata-openstack() { command kata-openstack --config-file '
          f'{conf} "$@"; }}')
    print(f'export OVS_RUNDIR={shlex.quote(str(stack.run / "ovs"))}')
    print('export PYTHONWARNINGS=ignore')


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='quickstart.sh',
        description='A local OpenStack that runs each container in a VM.')
    parser.add_argument('--state-dir', type=pathlib.Path, required=True,
                        help='folder for all files of the stack')
    parser.add_argument('--port-base', type=int,
                        help='first port of the range on loopback '
                             f'(default {settings.DEFAULT_PORT_BASE})')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    up_parser = commands.add_parser(
        'up', help='start all services that do not run, and prove that '
                   'containers run in VMs (default)')
    up_parser.add_argument('--no-proof', action='store_true',
                           help='start the services without the proof')
    commands.add_parser('prepare', help='create the guest image and the VM '
                                        'template; starts no service')
    commands.add_parser('status', help='show services and containers')
    commands.add_parser('stop', help='stop containers and services, delete '
                                     'capsules; keep the state folder')
    commands.add_parser('clean', help='stop, and delete the state folder')
    commands.add_parser('env', help='print shell commands that set PATH and '
                                    'the credentials for the clients')
    for name in ('start', 'restart'):
        one = commands.add_parser(name, help=f'{name} one service')
        one.add_argument('service')
    return parser.parse_args(arguments)


def main() -> int:
    options = parse(sys.argv[1:])
    progress = graph.Progress()
    command = options.command or 'up'
    try:
        stack = settings.open_stack(options.state_dir, options.port_base)
        if command == 'env':
            print_environment(stack)
            return 0
        if command == 'status':
            print(status.table(stack))
            return 0 if status.all_up(stack) else 3
        held = settings.lock(stack)
        cleanup.after_reboot(stack)
        if command == 'up':
            up(stack, progress, not getattr(options, 'no_proof', False))
        elif command == 'prepare':
            start_one(stack, 'guest', progress)
        elif command == 'start':
            start_one(stack, options.service, progress)
        elif command == 'restart':
            service = services.by_name(stack, options.service)
            services.stop(stack, [service])
            start_one(stack, options.service, progress)
        else:
            cleanup.stop(stack, progress)
            if command == 'clean':
                cleanup.remove_state(stack)
                progress.say(f'removed {stack.state}')
        held.close()
    except settings.QuickstartError as e:
        print(f'quickstart: {e}', file=sys.stderr)
        return 1
    except BrokenPipeError:
        # "quickstart.sh status | head": avoid a second error when the
        # interpreter flushes stdout at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print('quickstart: interrupted. Run it again to continue, or run '
              'it with "stop" to stop the services that were started.',
              file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    os.umask(0o022)
    sys.exit(main())
