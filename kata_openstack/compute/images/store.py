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

"""The images of this node: pulls, rights and metadata."""

from collections.abc import Callable
from concurrent import futures
import contextlib
import json
import pathlib
import threading
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from kata_openstack.compute.images import cleanup
from kata_openstack.compute.images import glance_imports
from kata_openstack.compute.images import proof
from kata_openstack.compute.images import pull_error
from kata_openstack.compute.images import pull_watch
from kata_openstack.compute.images import registries
from kata_openstack.compute.images import rights
from kata_openstack.compute.images import user_files
from kata_openstack.compute import lanes
from kata_openstack.compute import space
from kata_openstack import exception
from kata_openstack import image_names
from kata_openstack import needs
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb

LOG = logging.getLogger(__name__)


class Images:
    """The images of this node. Thread-safe."""

    def __init__(self, conf: cfg.ConfigOpts, client: cri.CriClient,
                 native_: native.NativeClient) -> None:
        """:raises InvalidInput: for [compute] allowed_registries"""
        self._client = client
        self._registries = registries.AllowedRegistries(
            conf.compute.allowed_registries)
        timeout = conf.containerd.pull_timeout
        self._rights = rights.Rights(client, native_, timeout)
        self._user_files = user_files.UserFiles(native_)
        self._prover = proof.Prover(
            client, pathlib.Path(conf.state_path, 'proofs'), timeout)
        self._slots = lanes.Slots(conf.compute.max_concurrent_pulls)
        self._lock = threading.Lock()
        self._pulls: dict[Any, futures.Future[str]] = {}
        self.space = space.Space(conf, client)
        self._watch = pull_watch.PullWatch(self.space)
        self._imports = glance_imports.GlanceImports(conf, client,
                                                     self._watch)
        self.cleanup = cleanup.Cleanup(
            conf, client, native_, self.space, self._lock,
            lambda: [key[0] for key in self._pulls])
        self.space.make_room = self.cleanup.by_space

    def pull(self, reference: str, policy: str,
             auth: dict[str, Any] | None, project: str | None
             ) -> dict[str, Any]:
        """Pull an image as ``policy`` says; concurrent equal pulls join.

        An image that is on the node already is pulled again if the project
        has no right to it: containerd then only asks the registry, which
        must prove that it has the image.

        :param auth: see :meth:`ComputeAPI.pull_image
            <kata_openstack.compute.rpcapi.ComputeAPI.pull_image>`
        :param policy: one of :data:`kata_openstack.schema.POLICIES`
        :param project: the project that asks
        :returns: see :meth:`inspect`
        :raises InvalidInput: not a name, or its registry is not allowed
        :raises ImageNotFound: also if the policy is 'never' and this node
            does not have the image, or the project has no right to it
        :raises RegistryUnreachable: name, route or TLS
        :raises RegistryDenied: credentials missing or wrong
        :raises NotEnoughDisk: the node keeps the space that is left
        :raises ImagePullFailed: anything else
        """
        name = self._parse(reference)
        if image_names.is_of_glance(name):
            raise exception.InvalidInput(
                field='image', value=str(name)[:64],
                why='it is the name that nodes give to an image of Glance',
                remedy='Name the image as Glance does, with --image-driver '
                       'glance.')
        if policy != 'always':
            try:
                return _details(self._use(name, project), name)
            except exception.ImageNotFound:
                if policy == 'never':
                    raise

        def work() -> str:
            # Join only pulls with equal credentials: otherwise a tenant
            # could get an image with the credentials of another.
            return self._join((str(name), *sorted((auth or {}).items())),
                              lambda: self._pull(name, auth, project))

        def prove(image_id: str) -> None:
            size = self._status(image_id, name).image.size
            with self._slots.take(project):
                self.space.check('Checking an image', size)
                self._prover.prove(name, image_id, size, auth)

        if auth and not auth.get('shared'):
            image_id = self._rights.bind(project, name.repository, work,
                                         prove)
        else:
            image_id = self._rights.open(name.repository, work, prove)
        # by its ID: another pull may have moved the tag meanwhile
        return _details(self._status(image_id, name), name)

    def import_image(self, image_uuid: str, file: str | None,
                     project: str | None) -> dict[str, Any]:
        """Import an image of Glance; concurrent equal imports join.

        Glance has decided that the project may use it, so no proof is
        needed: all of the image is in the file, or the node got it so before.

        :param file: see :meth:`ComputeAPI.import_image
            <kata_openstack.compute.rpcapi.ComputeAPI.import_image>`
        :returns: see :meth:`inspect`
        :raises ImageNotFound: there is no file, and the node does not have
            the image
        :raises InvalidInput: the file is not an archive of an image
        :raises NotEnoughDisk: the node keeps the space that is left
        :raises ImagePullFailed: anything else
        """
        name = image_names.of_glance(image_uuid)
        with contextlib.suppress(exception.ImageNotFound):
            return _details(self._use(name, project), name)

        def work() -> str:
            try:
                return self._here(name).image.id
            except exception.ImageNotFound:
                if not file:
                    raise
                return self._import(name, image_uuid, file, project)

        image_id = self._rights.bind(
            project, name.repository,
            lambda: self._join((str(name), file is None), work),
            lambda image_id: None, answers=glance_imports.ANSWERS)
        return _details(self._status(image_id, name), name)

    def _import(self, name: image_names.Name, image_uuid: str, file: str,
                project: str | None) -> str:
        with self._slots.take(project):
            known = self.cleanup.known()
            return self._imports.load(
                name, image_uuid, file,
                lambda ident: self.cleanup.pulled(ident, str(name), known))

    def _parse(self, reference: str) -> image_names.Name:
        """:raises InvalidInput: not a name, or its registry is not allowed"""
        name = image_names.parse(reference)
        if not image_names.is_of_glance(name):  # no registry has these
            self._registries.check(name)
        return name

    def _join(self, key: Any, work: Callable[[], str]) -> str:
        """Run ``work``, or wait for the thread that already runs it."""
        with self._lock:
            future = self._pulls.get(key)
            mine = future is None
            if future is None:
                future = self._pulls[key] = futures.Future()
        if mine:
            try:
                future.set_result(work())
            except BaseException as e:
                future.set_exception(e)
            finally:
                with self._lock:
                    del self._pulls[key]
        return future.result()

    def _pull(self, name: image_names.Name, auth: dict[str, Any] | None,
              project: str | None) -> str:
        config = pb.AuthConfig(
            username=auth.get('username') or '',
            password=auth.get('password') or '',
            server_address=auth.get('server') or '') if auth else None
        try:
            with self._slots.take(project), self._watch.pull() as look:
                known = self.cleanup.known()
                image_id = self._client.pull_image(str(name), config, look)
                self.cleanup.pulled(image_id, str(name), known)
        except exception.NotEnoughDisk:
            raise
        except exception.KataError as e:
            LOG.warning('Could not pull %s: %s', name, pull_error.detail(e))
            # no exception chain: its traceback could show the credentials
            raise pull_error.translate(str(name), e) from None
        LOG.info('Pulled %s', name)
        return image_id

    def _use(self, name: image_names.Name, project: str | None
             ) -> pb.ImageStatusResponse:
        """Find an image that is needed from now on.

        :raises ImageNotFound:
        """
        with self._lock:  # or the cleanup removes it meanwhile
            found = self._find(name, project)
            self.cleanup.used(found.image.id)
        return found

    def _here(self, name: image_names.Name) -> pb.ImageStatusResponse:
        """Like _use(), if the caller has the right otherwise.

        :raises ImageNotFound:
        """
        with self._lock:
            found = self._status(str(name), name)
            self.cleanup.used(found.image.id)
        return found

    def _find(self, name: image_names.Name, project: str | None
              ) -> pb.ImageStatusResponse:
        """Return an image of this node that the project may use.

        :raises ImageNotFound: also if it has no right to it: it must not
            learn whether the node has the image.
        """
        found = self._status(str(name), name)
        if not self._rights.may_use(project, name.repository,
                                    found.image.id):
            LOG.info('Project %s has no right to the image %s of this node',
                     project, name)
            raise exception.ImageNotFound(image=str(name))
        return found

    def _status(self, name_or_id: str, name: image_names.Name
                ) -> pb.ImageStatusResponse:
        """:raises ImageNotFound: if it is not on this node"""
        status = self._client.image_status(name_or_id, verbose=True)
        if not status.HasField('image'):
            raise exception.ImageNotFound(image=str(name))
        return status

    def resolve(self, reference: str, project: str | None
                ) -> tuple[str, list[str]]:
        """Return the ID and the volumes of an image that the project may use.

        :raises InvalidInput: not a name, or its registry is not allowed, or
            the image would block containerd
        :raises ImageNotFound: not on this node, or no right to it
        """
        status = self._use(self._parse(reference), project)
        root = _specification(status).get('rootfs') or {}
        self._user_files.check(reference, root.get('diff_ids') or ())
        return status.image.id, list(_config(status).get('Volumes') or {})

    def inspect(self, reference: str) -> dict[str, Any]:
        """Return the details of an image of this node, for an operator.

        :raises ImageNotFound: if it is not on this node
        """
        name = image_names.parse(reference)
        return _details(self._status(str(name), name), name)

    def delete(self, image_id: str) -> None:
        """Remove an image; an unknown image is not an error."""
        self._client.remove_image(
            image_id if image_names.is_id(image_id)
            else str(image_names.parse(image_id)))


def _config(status: pb.ImageStatusResponse) -> dict[str, Any]:
    """Return the image's configuration of its containers."""
    return _specification(status).get('config') or {}


def _specification(status: pb.ImageStatusResponse) -> dict[str, Any]:
    info = json.loads(status.info.get('info') or '{}')
    return info.get('imageSpec') or {}


def _details(status: pb.ImageStatusResponse, name: image_names.Name
             ) -> dict[str, Any]:
    config = _config(status)
    return {
        'id': status.image.id,
        'reference': str(name),
        'size': status.image.size,
        'entrypoint': config.get('Entrypoint') or [],
        'command': config.get('Cmd') or [],
        'exposed_ports': sorted(config.get('ExposedPorts') or {}),
        # one character more than allowed is enough for needs.py to refuse a
        # label that is too long
        'labels': {key: value[:needs.LONGEST + 1]
                   for key, value in (config.get('Labels') or {}).items()
                   if key in needs.IMAGE_KEYS},
    }
