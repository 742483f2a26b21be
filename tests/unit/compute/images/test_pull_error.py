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

from tests.unit import base

from kata_openstack.compute.images import store
from kata_openstack import exception


class PullErrorTest(base.TestCase):
    """Error texts of containerd 1.6 and 1.7, and their exceptions."""

    def test_table(self):
        resolve = 'failed to resolve reference "r/i:1": '
        head = resolve + 'failed to do request: Head "https://r/v2/": '
        for words, kind in [
                (head + 'dial tcp: lookup r: no such host',
                 exception.RegistryUnreachable),
                (head + 'dial tcp 192.0.2.1:443: i/o timeout',
                 exception.RegistryUnreachable),
                (head + 'http: server gave HTTP response to HTTPS client',
                 exception.RegistryUnreachable),
                (head + 'x509: certificate signed by unknown authority',
                 exception.RegistryUnreachable),
                (resolve + 'unexpected status code [manifests 1]: '
                 '503 Service Unavailable', exception.RegistryUnreachable),
                (resolve + 'pull access denied, repository does not exist '
                 'or may require authorization: authorization failed: no '
                 'basic auth credentials', exception.RegistryDenied),
                (resolve + 'failed to authorize: failed to fetch oauth '
                 'token: unexpected status: 401 Unauthorized',
                 exception.RegistryDenied),
                (resolve + 'unexpected status code: 403 Forbidden',
                 exception.RegistryDenied),
                (resolve + 'r/i:1: not found', exception.ImageNotFound),
                ('no match for platform in manifest: not found',
                 exception.ImageNotFound),
                ('failed to extract layer sha256:40147ab4011: no space left '
                 'on device', exception.ImagePullFailed)]:
            error = store.pull_error('r/i:1', exception.RuntimeFailed(
                operation='PullImage', why=words))
            self.assertIs(kind, type(error), words)
            self.assertIn('r/i:1', str(error))

    def test_others_are_kept(self):
        error = exception.ContainerdUnavailable(address='a', why='w')
        self.assertIs(error, store.pull_error('i', error))
