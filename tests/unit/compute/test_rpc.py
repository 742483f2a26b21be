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

"""Client and endpoint, through oslo.messaging's in-memory broker."""

import io
import logging as python_logging
import time
import types

import fixtures
from oslo_config import cfg
from oslo_log import formatters
from oslo_log import log as logging
import oslo_messaging
from tests.unit import base
from tests.unit.compute import rpc_server

from kata_openstack.compute import rpcapi
from kata_openstack import exception
from kata_openstack import objects

CTXT = {'request_id': 'req-1'}
UUID = '5a4f0e6c-3a0b-4f5e-9d8e-1f2a3b4c5d6e'
STATUS = objects.PodStatus(uuid='u', kind='container', sandbox_id='s',
                           ready=True, handler='h')


class Parts:
    """Stands in for pods, containers, images and inventory.

    Records the calls and returns fixed answers.
    """

    def __init__(self):
        self.calls = []
        self.error = None

    def whose(self, exec_id):
        return 'p', UUID

    def __getattr__(self, name):
        def method(*args, **kwargs):
            if self.error:
                raise self.error
            self.calls.append((name, args, kwargs))
            return {'list': [STATUS], 'logs': 'text', 'create_exec': {},
                    'attach': {}}.get(name, STATUS)
        return method


class RpcTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.parts = Parts()
        transport = self.transport = rpc_server.serve(
            self, 'kombu+memory://', self.parts)
        self.log = self.useFixture(fixtures.FakeLogger())
        self.api = rpcapi.ComputeAPI(transport, timeout=1, long_timeout=20)

    def test_arguments_arrive(self):
        self.api.stop_pod(CTXT, 'n1', UUID, 7)
        self.assertEqual('text', self.api.logs(
            CTXT, 'n1', UUID, tail=5, since=1.5))
        self.assertIsNone(self.api.kill_container(
            CTXT, 'n1', UUID, 'TERM'))
        self.api.create_exec(CTXT | {'project_id': 'p'}, 'n1', UUID, ['sh'],
                             True)
        self.api.attach_container(CTXT, 'n1', UUID)
        self.api.resize_exec(CTXT, 'n1', 'e0' * 32, 24, 80)
        self.api.resize_terminal(CTXT, 'n1', UUID, 25, 81)
        self.assertEqual([
            ('stop', (UUID, 7), {}),
            ('logs', (UUID,), {'stdout': True, 'stderr': True,
                              'timestamps': False, 'tail': 5,
                              'since': 1.5}),
            ('kill', (UUID, 'TERM'), {}),
            ('create_exec', (UUID, 'p', ['sh'], True), {}),
            ('attach', (UUID, None), {}),
            ('resize_exec', ('e0' * 32, 24, 80), {}),
            ('resize', (UUID, 25, 81), {})], self.parts.calls)

    def test_pods_become_objects_and_back(self):
        pod = objects.Pod(uuid=UUID, kind='container', project_id='p',
                          user_id='u', containers=[])
        self.assertEqual(STATUS.to_dict(), self.api.create_pod(
            CTXT, 'n1', pod.to_dict()))
        self.assertEqual([('create', (pod,), {})], self.parts.calls)
        self.assertEqual([STATUS.to_dict()],
                         self.api.list_pods(CTXT, 'n1'))

    def test_parts_of_archives(self):
        data = 'A' * (rpcapi.ARCHIVE_PART * 4 // 3)
        self.api.write_archive(CTXT, 'n1', UUID, UUID, 0, data)
        self.assertEqual(('write', (None, UUID, UUID, 0, data), {}),
                         self.parts.calls[-1])
        # what a tenant copies is in no error
        error = self.assertRaises(
            exception.InvalidInput, self.api.write_archive, CTXT, 'n1', UUID,
            UUID, 0, ['secret'])
        self.assertNotIn('secret', str(error))

    def test_every_argument_is_checked(self):
        """Who has the broker's password has no more than this schema."""
        auth = {'server': 's', 'username': 'u', 'password': 'p'}
        for method, arguments in (
                ('show_pod', {'pod_uuid': '../../../etc'}),
                ('show_pod', {'pod_uuid': UUID + '/..'}),
                ('show_pod', {'pod_uuid': [UUID]}), ('show_pod', {}),
                ('show_pod', {'pod_uuid': UUID, 'more': 1}),
                ('stop_pod', {'pod_uuid': UUID, 'timeout': -1}),
                ('stop_pod', {'pod_uuid': UUID, 'timeout': 10 ** 9}),
                ('stop_pod', {'pod_uuid': UUID, 'timeout': '5'}),
                ('delete_pod', {'pod_uuid': '.', 'force': True}),
                ('delete_pod', {'pod_uuid': UUID, 'force': 'yes'}),
                ('create_pod', {'pod': [1]}),
                ('kill_container', {'container_uuid': '*', 'signal': '9'}),
                ('kill_container', {'container_uuid': UUID, 'signal': 9}),
                ('exec_sync', {'container_uuid': UUID, 'command': 'ls',
                               'timeout': 0}),
                ('exec_sync', {'container_uuid': UUID, 'command': ['a\0b'],
                               'timeout': 0}),
                ('logs', {'container_uuid': UUID, 'stdout': 1, 'stderr': True,
                          'timestamps': True, 'tail': None, 'since': None}),
                ('logs', {'container_uuid': UUID, 'stdout': True,
                          'stderr': True, 'timestamps': True, 'tail': -5,
                          'since': float('nan')}),
                ('create_exec', {'container_uuid': UUID, 'command': 'sh',
                                 'interactive': True}),
                ('attach_container', {'container_uuid': '../x'}),
                ('resize_exec', {'exec_id': '../' + 'a' * 61, 'height': 1,
                                 'width': 1}),
                ('resize_exec', {'exec_id': 'a' * 64, 'height': 70000,
                                 'width': 1}),
                ('resize_terminal', {'container_uuid': UUID, 'height': -1,
                                      'width': 1}),
                ('pack_archive', {'container_uuid': UUID, 'path': '/',
                                  'limit_mib': 0}),
                ('read_archive', {'container_uuid': UUID, 'offset': 0,
                                  'archive_id': '../x'}),
                ('write_archive', {'container_uuid': UUID, 'offset': -1,
                                   'archive_id': UUID, 'archive_data': ''}),
                ('write_archive', {'container_uuid': UUID, 'offset': 0,
                                   'archive_id': UUID, 'archive_data': 5}),
                ('unpack_archive', {'container_uuid': UUID, 'path': 'a\0',
                                    'archive_id': UUID}),
                ('pull_image', {'reference': 'i', 'policy': 'sometimes',
                                'auth': None}),
                ('pull_image', {'reference': 'i', 'policy': 'always',
                                'auth': {**auth, 'password': 5}}),
                ('import_image', {'image_uuid': '../x', 'file': None}),
                ('import_image', {'image_uuid': UUID.upper(),
                                  'file': None}),
                ('import_image', {'image_uuid': UUID, 'file': 5}),
                ('import_image', {'image_uuid': UUID}),
                ('pull_image', {'reference': 'i', 'policy': 'always',
                                'auth': {**auth, 'path': '/etc/shadow'}})):
            error = self.assertRaises(
                exception.InvalidInput, self.api._call, CTXT, 'n1', method,
                **arguments)
            self.assertRegex(str(error), r'\. (Use|Run|Remove) ', arguments)
        self.assertEqual([], self.parts.calls)

    def test_a_context_of_the_wrong_type(self):
        for wrong in ({'project_id': {}}, {rpcapi.VALID_UNTIL: 'x'}):
            error = self.assertRaises(
                exception.RuntimeFailed, self.api._client.prepare(
                    server='n1').call, {**CTXT, **wrong}, 'stats',
                container_uuid=UUID)
            self.assertIn('TypeError', str(error))

    def test_unknown_field(self):
        self.assertRaises(exception.InvalidInput, self.api.create_pod, CTXT,
                          'n1', {'nonsense': 1})

    def test_our_errors_arrive_as_they_are(self):
        self.parts.error = exception.CommandNotFound(command='c', image='i')
        error = self.assertRaises(exception.CommandNotFound,
                                  self.api.show_pod, CTXT, 'n1', UUID)
        self.assertIs(exception.CommandNotFound, type(error))
        self.assertEqual(str(self.parts.error), str(error))
        self.assertEqual({'command': 'c', 'image': 'i'}, error.kwargs)

    def test_bugs_arrive_without_traceback(self):
        self.parts.error = KeyError('oops')
        error = self.assertRaises(exception.RuntimeFailed,
                                  self.api.show_pod, CTXT, 'n1', UUID)
        self.assertIn('KeyError', str(error))
        self.assertNotIn('Traceback', str(error))
        self.assertIn('Traceback', self.log.output)

    def test_what_nobody_waits_for_is_not_done(self):
        """As after a restart of kata-compute, with old requests queued."""
        with fixtures.MonkeyPatch(
                'kata_openstack.compute.manager.time',
                types.SimpleNamespace(time=lambda: 4e9)):
            error = self.assertRaises(
                exception.Expired, self.api.exec_sync, CTXT, 'n1',
                UUID, ['true'])
        self.assertIn('exec_sync was not executed', str(error))
        self.assertEqual([], self.parts.calls)
        self.assertIn('exec_sync was dropped', self.log.output)

    def test_a_long_call_expires_before_its_caller_gives_up(self):
        """The caller gives up unless a heartbeat comes within 30 s.

        The first one comes 15 s after the dispatch.
        """
        calls = []
        client = types.SimpleNamespace()
        client.prepare = lambda **kwargs: calls.append(kwargs) or client
        client.call = lambda ctxt, *args, **kwargs: calls.append(ctxt)
        self.api._client = client
        begun = time.time()
        self.api.delete_pod(CTXT, 'n1', UUID)
        prepared, ctxt = calls
        self.assertEqual(30, prepared['call_monitor_timeout'])
        valid = ctxt[rpcapi.VALID_UNTIL] - begun
        self.assertLess(10, valid)
        self.assertLess(valid + 15, 30)

    def test_lines_of_the_log_show_the_request(self):
        conf = cfg.ConfigOpts()
        logging.register_options(conf)
        conf([], default_config_files=[], default_config_dirs=[])
        stream = io.StringIO()
        handler = python_logging.StreamHandler(stream)
        handler.setFormatter(formatters.ContextFormatter(
            config=conf, version='1', project='kata-openstack'))
        logger = python_logging.getLogger('kata_openstack')
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        self.parts.error = exception.NotFound(kind='Pod', id=UUID)
        for number in (1, 2):
            self.assertRaises(
                exception.NotFound, self.api.show_pod,
                {'request_id': f'req-{number}', 'user_id': 'the-user',
                 'project_id': f'project-{number}'}, 'n1', UUID)
        lines = stream.getvalue().splitlines()
        for number in (1, 2):
            found = [line for line in lines if f' req-{number} ' in line]
            self.assertIn(f'the-user project-{number}', found[0])
            self.assertIn('show_pod: Pod', found[0])

    def test_a_node_of_another_release(self):
        for ours, older, newer in (('1.7', 'kata-compute', 'zun-compute'),
                                   ('2.0', 'kata-compute', 'zun-compute'),
                                   ('0.9', 'zun-compute', 'kata-compute')):
            with fixtures.MonkeyPatch(
                    'kata_openstack.compute.rpcapi.VERSION', ours), (
                    fixtures.MonkeyPatch(
                        'kata_openstack.compute.rpcapi.OLDEST', ours)):
                api = rpcapi.ComputeAPI(self.transport, timeout=1,
                                        long_timeout=1)
                # of the node; the test has both in one process
                self.useFixture(fixtures.MonkeyPatch(
                    'kata_openstack.compute.manager.Versions.get_rpc_version',
                    lambda *_: '1.0'))
                error = self.assertRaises(exception.VersionMismatch,
                                          api.show_pod, CTXT, 'n1', UUID)
            self.assertIn('on n1 are of different releases', str(error))
            self.assertIn(f'kata-compute is 1.0, and that of zun-compute '
                          f'{ours}', str(error))
            self.assertIn(f'for {older} on n1 to the release of {newer}, and '
                          f'restart {older}', str(error))
        self.assertEqual([], self.parts.calls)

    def test_a_node_of_the_previous_release(self):
        """It serves the calls that it has."""
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.manager.ComputeManager.target',
            oslo_messaging.Target(version='1.0')))
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.manager.Versions.get_rpc_version',
            lambda *_: '1.0'))
        self.assertEqual(STATUS.to_dict(),
                         self.api.show_pod(CTXT, 'n1', UUID))
        error = self.assertRaises(
            exception.VersionMismatch, self.api.create_exec, CTXT, 'n1', UUID,
            ['sh'], True)
        self.assertIn('does not know the call create_exec', str(error))

    def test_a_node_without_the_method(self):
        error = self.assertRaises(exception.VersionMismatch, self.api._call,
                                  CTXT, 'n1', 'freeze_pod', pod_uuid=UUID)
        self.assertIn('does not know the call freeze_pod', str(error))

    def test_a_node_that_cannot_tell_its_version(self):
        """As the first releases."""
        self.useFixture(fixtures.MonkeyPatch(
            'kata_openstack.compute.rpcapi.VERSIONS', 'unheard-of'))
        error = self.assertRaises(exception.VersionMismatch, self.api._call,
                                  CTXT, 'n1', 'freeze_pod', pod_uuid=UUID)
        self.assertIn('of kata-compute is unknown', str(error))

    def test_nobody_there(self):
        error = self.assertRaises(exception.NodeUnavailable,
                                  self.api.show_pod, CTXT, 'n2', UUID)
        self.assertIn('n2', str(error))

    def test_password_is_in_no_log(self):
        self.parts.error = exception.RegistryDenied(image='i')
        self.assertRaises(
            exception.RegistryDenied, self.api.pull_image, CTXT, 'n1', 'i',
            'always', {'server': 's', 'username': 'u',
                       'password': 's3cret'})
        self.assertIn('pull_image', self.log.output)
        self.assertNotIn('s3cret', self.log.output)
