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

from kata_openstack.compute.images import pull_error
from kata_openstack import exception


def failed(why):
    return exception.RuntimeFailed(operation='PullImage', why=why)


class PullErrorTest(base.TestCase):
    """Error texts of containerd 1.6 and 1.7, and their exceptions."""

    RESOLVE = 'failed to resolve reference "r/i:1": '
    HEAD = RESOLVE + 'failed to do request: Head "https://r/v2/": '

    def test_table(self):
        for words, kind in [
                (self.HEAD + 'dial tcp: lookup r: no such host',
                 exception.RegistryUnreachable),
                (self.HEAD + 'dial tcp 192.0.2.1:443: i/o timeout',
                 exception.RegistryUnreachable),
                (self.HEAD + 'http: server gave HTTP response to HTTPS '
                 'client', exception.RegistryUnreachable),
                (self.HEAD + 'x509: certificate signed by unknown authority',
                 exception.RegistryUnreachable),
                (self.RESOLVE + 'unexpected status code [manifests 1]: '
                 '503 Service Unavailable', exception.RegistryUnreachable),
                (self.RESOLVE + 'pull access denied, repository does not '
                 'exist or may require authorization: authorization failed: '
                 'no basic auth credentials', exception.RegistryDenied),
                (self.RESOLVE + 'failed to authorize: failed to fetch oauth '
                 'token: unexpected status: 401 Unauthorized',
                 exception.RegistryDenied),
                (self.RESOLVE + 'unexpected status code: 403 Forbidden',
                 exception.RegistryDenied),
                (self.RESOLVE + 'r/i:1: not found', exception.ImageNotFound),
                ('no match for platform in manifest: not found',
                 exception.ImageNotFound),
                ('failed to extract layer sha256:40147ab4011: no space left '
                 'on device', exception.ImagePullFailed)]:
            error = pull_error.translate('r/i:1', failed(words))
            self.assertIs(kind, type(error), words)
            self.assertIn('r/i:1', str(error))

    def test_a_tenant_cannot_scan_ports(self):
        """Closed, filtered, unknown, or no registry: all look the same."""
        answers = {str(pull_error.translate('r/i:1', failed(self.HEAD + end)))
                   for end in (
                       'dial tcp 10.0.0.5:22: connect: connection refused',
                       'dial tcp 10.0.0.5:22: i/o timeout',
                       'dial tcp: lookup r: no such host',
                       'dial tcp 10.0.0.5:22: connect: no route to host',
                       'net/http: HTTP/1.x transport connection broken: '
                       'malformed HTTP response "SSH-2.0-OpenSSH_9.2p1"',
                       'http: server gave HTTP response to HTTPS client',
                       'tls: first record does not look like a TLS handshake',
                       'EOF')}
        self.assertEqual(1, len(answers), answers)
        self.assertNotIn('10.0.0.5', answers.pop())

    def test_other_answers_are_not_repeated(self):
        error = pull_error.translate('r/i:1', failed(
            'failed to copy: httpReadSeeker: failed open: unexpected status '
            'code http://10.0.0.5/admin: 418 - Server message: s3cret'))
        self.assertIs(exception.ImagePullFailed, type(error))
        self.assertNotIn('10.0.0.5', str(error))
        self.assertNotIn('s3cret', str(error))
        self.assertIn('no space left', str(pull_error.translate(
            'r/i:1', failed('write /x: no space left on device'))))

    def test_others_are_kept(self):
        error = exception.ContainerdUnavailable(address='a', why='w')
        self.assertIs(error, pull_error.translate('i', error))

    def test_the_log_has_the_rest(self):
        self.assertEqual(
            'Get "https://s/blob?...": dial tcp 10.0.0.5:443: ?[31mrefused',
            pull_error.detail(failed(
                'Get "https://s/blob?X-Amz-Signature=s3cret&a=b": '
                'dial tcp 10.0.0.5:443: \x1b[31mrefused')))
