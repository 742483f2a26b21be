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

import logging
from unittest import mock

import fixtures
from oslo_messaging._drivers import common as messaging
from oslo_serialization import jsonutils
from zun.common import exception as zun_exc

from kata_openstack.compute import rpcapi
from kata_openstack import exception
from kata_openstack.zun_driver import errors as module
from tests.unit import base


def over_rpc(error, module_name):
    """The error as the client of an RPC receives it."""
    try:
        raise error
    except type(error) as e:
        data = messaging.serialize_remote_exception(
            (type(e), e, e.__traceback__))
    return messaging.deserialize_remote_exception(data, [module_name])


class TestToZun(base.TestCase):

    def test_codes(self) -> None:
        for error, code in (
                (exception.ImageNotFound(image='x'), 400),
                (exception.RegistryDenied(image='x'), 400),
                (exception.UnknownRuntime(
                    runtime='x', why='', use='kata'), 400),
                (exception.NotFound(kind='Pod', id='x'), 409),
                (exception.NodeUnavailable(host='x', why='y'), 409),
                (exception.NodeBusy(kind='x', whose='y', limit=1), 409),
                (exception.RuntimeFailed(operation='x', why='y'), 409),
                (ValueError('x'), 500)):
            found = module.to_zun(error)
            self.assertEqual(code, found.code)
            self.assertEqual(str(error), str(found))
            self.assertEqual(zun_exc.__name__, type(found).__module__)

    def test_each_error_that_users_can_act_upon_reaches_them(self) -> None:
        """zun-api hides the text of an error with a code of 500."""
        hidden = {exception.KataError}
        for cls in vars(exception).values():
            if not isinstance(cls, type) or not issubclass(
                    cls, exception.KataError):
                continue
            found = module.to_zun(cls('text'))
            self.assertEqual(cls in hidden, found.code >= 500, cls)

    def test_text_survives_formatting_and_rpc(self) -> None:
        for text in ('100% full', '%', '%(code)s', '%%', 'a%2Fb'):
            found = module.to_zun(exception.ImageNotFound(text))
            self.assertEqual(text, str(found))
            remote = over_rpc(found, zun_exc.__name__)
            self.assertIsInstance(remote, zun_exc.ImageNotFound)
            self.assertEqual(text, remote.message)

    def test_no_remote_traceback(self) -> None:
        error = exception.CommandNotFound(command='x', image='y')
        remote = over_rpc(error, exception.__name__)
        self.assertIn('Traceback', str(remote))
        found = module.to_zun(rpcapi._local(remote))
        self.assertIsInstance(found, zun_exc.Invalid)
        self.assertEqual(str(error), str(found))

    def test_zuns_own_errors_pass(self) -> None:
        error = zun_exc.PortInUse(port='x')
        self.assertIs(error, module.to_zun(error))

    def test_all_of_ours_serialise(self) -> None:
        for error in (exception.NetworkFailed(id='x', why='y', remedy='z'),
                      exception.NotEnoughMemory(asked_mib=2, limit_mib=1)):
            jsonutils.dumps(error.kwargs)
            self.assertEqual(str(error), module.text(rpcapi._local(
                over_rpc(error, exception.__name__))))


class TestLog(base.TestCase):

    def test_mistakes_of_users_are_no_errors(self) -> None:
        for error, level in (
                (exception.ImageNotFound(image='x'), 'INFO'),
                (exception.Unsupported(operation='x', remedy='y'), 'INFO'),
                (exception.NodeBusy(kind='x', whose='y', limit=1), 'ERROR'),
                (exception.RuntimeFailed(operation='x', why='y'), 'ERROR'),
                (ValueError('x'), 'ERROR')):
            log = self.useFixture(fixtures.FakeLogger(
                format='%(levelname)s %(message)s', level=logging.DEBUG))
            failing = module.translated(mock.Mock(
                side_effect=error, __name__='create'))
            self.assertRaises(zun_exc.ZunException, failing)
            self.assertTrue(log.output.startswith(
                f'{level} create failed: '), log.output)
            self.assertEqual('ValueError' in repr(error),
                             'Traceback' in log.output)


class TestReportedAsError(base.TestCase):

    def test_only_what_may_have_changed_the_pod_is_a_failure(self) -> None:
        for error, failed in (
                (exception.NodeBusy(kind='x', whose='y', limit=1), False),
                (exception.Expired(operation='x', late=1), False),
                (exception.VersionMismatch('kata-compute is older'), False),
                (exception.NodeUnavailable(host='x', why='y'), False),
                (exception.NotFound(kind='Pod', id='x'), True),
                (exception.RuntimeFailed(operation='x', why='y'), True)):
            self.assertEqual(failed, module._is_failure(error))
