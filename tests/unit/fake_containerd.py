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

"""A gRPC server that answers as containerd does, and fails on demand.

Real clients connect to it through a real socket; only the VMs are missing.
tests/functional tests containerd itself.
"""

from collections.abc import Callable
from concurrent import futures
import gzip
import hashlib
import json
import pathlib
import shutil
import tempfile
import threading
import time

import fixtures
from google.protobuf import any_pb2
from google.protobuf import empty_pb2
import grpc
from oslo_config import cfg

from kata_openstack.conf import opts
from kata_openstack.runtime.containerd.protos import containers_pb2
from kata_openstack.runtime.containerd.protos import containers_pb2_grpc
from kata_openstack.runtime.containerd.protos import content_pb2
from kata_openstack.runtime.containerd.protos import content_pb2_grpc
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.containerd.protos import cri_pb2_grpc
from kata_openstack.runtime.containerd.protos import diff_pb2
from kata_openstack.runtime.containerd.protos import diff_pb2_grpc
from kata_openstack.runtime.containerd.protos import events_pb2
from kata_openstack.runtime.containerd.protos import events_pb2_grpc
from kata_openstack.runtime.containerd.protos import images_pb2
from kata_openstack.runtime.containerd.protos import images_pb2_grpc
from kata_openstack.runtime.containerd.protos import introspection_pb2
from kata_openstack.runtime.containerd.protos import introspection_pb2_grpc
from kata_openstack.runtime.containerd.protos import leases_pb2
from kata_openstack.runtime.containerd.protos import leases_pb2_grpc
from kata_openstack.runtime.containerd.protos import snapshots_pb2
from kata_openstack.runtime.containerd.protos import snapshots_pb2_grpc
from kata_openstack.runtime.containerd.protos import tasks_pb2
from kata_openstack.runtime.containerd.protos import tasks_pb2_grpc
from kata_openstack.runtime.containerd.protos import types_pb2
from kata_openstack.runtime.containerd.protos import version_pb2
from kata_openstack.runtime.containerd.protos import version_pb2_grpc


class State:
    """State that the services share.

    fail: method name -> (status code, details); its calls fail with these;
    fail_after: method name -> entries that its next call adds to ``fail``;
    calls: (method, request) of every call; images: reference -> image ID;
    image_labels, layers: by image ID; registry: reference -> image ID, what a
    pull finds; during_pull: called with each pull request, before its answer;
    volumes: image ID -> paths of its volumes; ignore_volumes: containerd's
    ignore_image_defined_volumes; attach_url: what
    Attach returns; metadata: of the last call.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.fail: dict[str, tuple[grpc.StatusCode, str]] = {}
        self.fail_after: dict[str, dict[
            str, tuple[grpc.StatusCode, str]]] = {}
        self.calls: list[tuple[str, object]] = []
        self.sandboxes: dict[str, pb.PodSandbox] = {}
        self.stopped: set[str] = set()  # IDs of sandboxes
        self.containers: dict[str, pb.Container] = {}
        self.exits: dict[str, int] = {}
        self.paused: set[str] = set()  # IDs of containers
        self.metrics: list[any_pb2.Any] = []
        self.attach_url = ''
        self.images: dict[str, str] = {'registry.test/image:1': 'sha256:1'}
        self.image_labels: dict[str, dict[str, str]] = {}
        self.layers: dict[str, list[str]] = {}
        self.registry: dict[str, str] = {}
        self.during_pull: Callable[[pb.PullImageRequest], None] = (
            lambda request: None)
        self.volumes: dict[str, list[str]] = {}
        self.ignore_volumes = False
        self.mounts: dict[str, dict[str, pathlib.Path]] = {}
        self.blobs: dict[str, bytes] = {}
        self.blob_labels: dict[str, dict[str, str]] = {}
        self.records: dict[str, str] = {}
        self.snapshots: dict[str, str] = {}  # key: its parent
        self.during_apply: Callable[[], None] = lambda: None
        self.leases: dict[str, dict[str, str]] = {}
        self.cri_is_blind = False
        self.canary_says = 'boot-id-of-a-guest'
        self.canary_exit = 0
        self.logs: dict[str, pathlib.Path] = {}
        self.handlers = ['kata-embedded']
        self.metadata: dict[str, str] = {}
        self.streams: list[list[events_pb2.Envelope]] = []
        self.closing = threading.Event()

    def enter(self, method: str, request: object,
              context: grpc.ServicerContext) -> None:
        self.calls.append((method, request))
        self.metadata = dict(context.invocation_metadata())
        self.fail.update(self.fail_after.pop(method, {}))
        if method in self.fail:
            context.abort(*self.fail[method])

    def new_id(self) -> str:
        return f'{len(self.calls):064x}'

    def upper(self, container_id: str) -> pathlib.Path:
        return self.root / f'upper-{container_id}' / 'fs'

    def folder(self, container_id: str) -> pathlib.Path:
        """The folder of CRI for a container."""
        return self.root / 'containers' / container_id

    def create(self, container: pb.Container) -> None:
        """Add a container with its snapshot, and with its image's volumes."""
        self.containers[container.id] = container
        self.upper(container.id).mkdir(parents=True)
        paths = ([] if self.ignore_volumes
                 else self.volumes.get(container.image_ref, []))
        self.mounts[container.id] = {
            path: self.folder(container.id) / 'volumes' / f'{number:064x}'
            for number, path in enumerate(paths)}
        for volume in self.mounts[container.id].values():
            volume.mkdir(parents=True)
            (volume / 'file').write_text("the image's")

    def spec(self, container_id: str) -> any_pb2.Any:
        mounts = [('/etc/hosts', self.root / 'sandboxes' / 'hosts'),
                  *self.mounts.get(container_id, {}).items()]
        return any_pb2.Any(
            type_url='types.containerd.io/opencontainers/runtime-spec/1/Spec',
            value=json.dumps({'mounts': [
                {'destination': '/proc', 'type': 'proc', 'source': 'proc'},
                *({'destination': path, 'type': 'bind', 'source': str(folder),
                   'options': ['rbind', 'rprivate', 'rw']}
                  for path, folder in mounts)]}).encode())

    def remove(self, container_id: str) -> None:
        """Remove a container with its files, as containerd does."""
        if self.containers.pop(container_id, None):
            shutil.rmtree(self.upper(container_id).parent)
            shutil.rmtree(self.folder(container_id), ignore_errors=True)
            self.mounts.pop(container_id, None)


def _matches(labels, selector) -> bool:
    return all(labels.get(k) == v for k, v in selector.items())


class Runtime(cri_pb2_grpc.RuntimeServiceServicer):

    def __init__(self, state: State) -> None:
        self.state = state

    def Version(self, request, context):
        self.state.enter('Version', request, context)
        return pb.VersionResponse(runtime_name='fake')

    def Status(self, request, context):
        self.state.enter('Status', request, context)
        config = {'containerd': {'runtimes': dict.fromkeys(
            self.state.handlers, {})},
            'containerdRootDir': str(self.state.root)}
        return pb.StatusResponse(info={'config': json.dumps(config)})

    def RunPodSandbox(self, request, context):
        self.state.enter('RunPodSandbox', request, context)
        ident = self.state.new_id()
        config = request.config
        self.state.sandboxes[ident] = pb.PodSandbox(
            id=ident, metadata=config.metadata, labels=config.labels,
            annotations=config.annotations, created_at=time.time_ns(),
            runtime_handler=request.runtime_handler)
        return pb.RunPodSandboxResponse(pod_sandbox_id=ident)

    def StopPodSandbox(self, request, context):
        self.state.enter('StopPodSandbox', request, context)
        sandbox = self.state.sandboxes.get(request.pod_sandbox_id)
        if sandbox:
            sandbox.state = pb.SANDBOX_NOTREADY
            self.state.stopped.add(sandbox.id)
        for container in self.state.containers.values():
            if container.pod_sandbox_id == request.pod_sandbox_id:
                container.state = pb.CONTAINER_EXITED
        return pb.StopPodSandboxResponse()

    def RemovePodSandbox(self, request, context):
        self.state.enter('RemovePodSandbox', request, context)
        self.state.sandboxes.pop(request.pod_sandbox_id, None)
        for ident, container in list(self.state.containers.items()):
            if container.pod_sandbox_id == request.pod_sandbox_id:
                self.state.remove(ident)
        return pb.RemovePodSandboxResponse()

    def ListPodSandbox(self, request, context):
        self.state.enter('ListPodSandbox', request, context)
        return pb.ListPodSandboxResponse(items=[
            s for s in self.state.sandboxes.values()
            if _matches(s.labels, request.filter.label_selector)
            and request.filter.id in ('', s.id)])

    def PodSandboxStatus(self, request, context):
        self.state.enter('PodSandboxStatus', request, context)
        closed = request.pod_sandbox_id in self.state.stopped
        return pb.PodSandboxStatusResponse(info={'info': json.dumps(
            {'netNamespaceClosed': closed})} if request.verbose else {})

    def CreateContainer(self, request, context):
        self.state.enter('CreateContainer', request, context)
        ident = self.state.new_id()
        config = request.config
        self.state.create(pb.Container(
            id=ident, pod_sandbox_id=request.pod_sandbox_id,
            metadata=config.metadata, image=config.image,
            image_ref=config.image.image, labels=config.labels,
            annotations=config.annotations, created_at=time.time_ns()))
        self.state.logs[ident] = pathlib.Path(
            request.sandbox_config.log_directory, config.log_path)
        return pb.CreateContainerResponse(container_id=ident)

    def StartContainer(self, request, context):
        self.state.enter('StartContainer', request, context)
        container = self.state.containers[request.container_id]
        container.state = pb.CONTAINER_RUNNING
        if container.metadata.name == 'canary':
            self.state.logs[container.id].write_text(
                f'2026-01-02T03:04:05.6Z stdout F {self.state.canary_says}\n')
            container.state = pb.CONTAINER_EXITED
            self.state.exits[container.id] = self.state.canary_exit
        return pb.StartContainerResponse()

    def StopContainer(self, request, context):
        self.state.enter('StopContainer', request, context)
        self.state.containers[
            request.container_id].state = pb.CONTAINER_EXITED
        return pb.StopContainerResponse()

    def RemoveContainer(self, request, context):
        self.state.enter('RemoveContainer', request, context)
        self.state.remove(request.container_id)
        return pb.RemoveContainerResponse()

    def ListContainers(self, request, context):
        self.state.enter('ListContainers', request, context)
        return pb.ListContainersResponse(containers=[
            c for c in self.state.containers.values()
            if _matches(c.labels, request.filter.label_selector)
            and request.filter.id in ('', c.id)])

    def ContainerStatus(self, request, context):
        self.state.enter('ContainerStatus', request, context)
        container = self.state.containers[request.container_id]
        return pb.ContainerStatusResponse(status=pb.ContainerStatus(
            id=container.id, state=container.state,
            started_at=container.created_at,
            finished_at=container.created_at,
            exit_code=self.state.exits.get(container.id, 0)))

    def ReopenContainerLog(self, request, context):
        self.state.enter('ReopenContainerLog', request, context)
        return pb.ReopenContainerLogResponse()

    def ExecSync(self, request, context):
        self.state.enter('ExecSync', request, context)
        return pb.ExecSyncResponse(stdout=b'out\xff', stderr=b'err',
                                   exit_code=2)

    def Attach(self, request, context):
        self.state.enter('Attach', request, context)
        return pb.AttachResponse(url=self.state.attach_url)


class Images(cri_pb2_grpc.ImageServiceServicer):

    def __init__(self, state: State) -> None:
        self.state = state

    def _image(self, ident):
        names = [n for n, i in self.state.images.items() if i == ident]
        return pb.Image(
            id=ident, repo_tags=[n for n in names if '@' not in n],
            repo_digests=[n for n in names if '@' in n])

    def ImageStatus(self, request, context):
        self.state.enter('ImageStatus', request, context)
        name = request.image.image
        ident = self.state.images.get(name, name)
        if ident not in self.state.images.values():
            return pb.ImageStatusResponse()
        config = {'Volumes': dict.fromkeys(
            self.state.volumes.get(ident, ()), {})}
        return pb.ImageStatusResponse(
            image=self._image(ident), info={'info': json.dumps(
                {'imageSpec': {'config': config, 'rootfs': {
                    'diff_ids': self.state.layers.get(ident, [])}}})}
            if request.verbose else {})

    def ListImages(self, request, context):
        self.state.enter('ListImages', request, context)
        return pb.ListImagesResponse(images=[
            self._image(i) for i in sorted(set(self.state.images.values()))])

    def PullImage(self, request, context):
        self.state.enter('PullImage', request, context)
        name = request.image.image
        ident = self.state.registry.get(name, 'sha256:2')
        self.state.images[name] = ident
        self.state.during_pull(request)
        return pb.PullImageResponse(image_ref=ident)

    def ImageFsInfo(self, request, context):
        self.state.enter('ImageFsInfo', request, context)
        return pb.ImageFsInfoResponse(image_filesystems=[
            pb.FilesystemUsage(fs_id=pb.FilesystemIdentifier(
                mountpoint='/c/io.containerd.snapshotter.v1.overlayfs'))])

    def RemoveImage(self, request, context):
        self.state.enter('RemoveImage', request, context)
        name = request.image.image
        ident = self.state.images.get(name, name)
        for key, value in list(self.state.images.items()):
            if value == ident:
                del self.state.images[key]
        self.state.image_labels.pop(ident, None)
        return pb.RemoveImageResponse()


class Content(content_pb2_grpc.ContentServicer):

    def __init__(self, state: State) -> None:
        self.state = state

    def Write(self, requests, context):
        data = b''
        for request in requests:
            self.state.enter('Write', request, context)
            if request.expected in self.state.blobs:
                context.abort(grpc.StatusCode.ALREADY_EXISTS,
                              request.expected)
            if request.offset != len(data):
                context.abort(grpc.StatusCode.OUT_OF_RANGE, 'offset')
            data += request.data
            digest = f'sha256:{hashlib.sha256(data).hexdigest()}'
            if request.action == content_pb2.COMMIT:
                if (digest, len(data)) != (request.expected, request.total):
                    context.abort(grpc.StatusCode.FAILED_PRECONDITION,
                                  digest)
                self.state.blobs[digest] = data
                self.state.blob_labels[digest] = dict(request.labels)
            yield content_pb2.WriteContentResponse(digest=digest)

    def Update(self, request, context):
        self.state.enter('UpdateContent', request, context)
        self.state.blob_labels[request.info.digest].update(
            request.info.labels)
        return content_pb2.UpdateResponse(info=request.info)


class Diff(diff_pb2_grpc.DiffServicer):
    """Unpacks nothing, but knows the digest of the unpacked layer."""

    def __init__(self, state: State) -> None:
        self.state = state

    def Apply(self, request, context):
        self.state.enter('Apply', request, context)
        self.state.during_apply()
        data = self.state.blobs[request.diff.digest]
        if request.diff.media_type.endswith('+gzip'):
            data = gzip.decompress(data)
        return diff_pb2.ApplyResponse(applied=types_pb2.Descriptor(
            digest=f'sha256:{hashlib.sha256(data).hexdigest()}'))


class ImageRecords(images_pb2_grpc.ImagesServicer):
    """The image service; CRI learns of images from creation events."""

    def __init__(self, state: State) -> None:
        self.state = state

    def Create(self, request, context):
        self.state.enter('Create', request, context)
        image = request.image
        if image.name in self.state.records:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, image.name)
        self.state.records[image.name] = image.target.digest
        manifest = json.loads(self.state.blobs[image.target.digest])
        if not self.state.cri_is_blind:
            self.state.images[image.name] = manifest['config']['digest']
        return images_pb2.CreateImageResponse(image=image)

    def Get(self, request, context):
        self.state.enter('Get', request, context)
        self._require(request.name, context)
        return images_pb2.GetImageResponse(image=images_pb2.Image(
            name=request.name,
            labels=self.state.image_labels.get(request.name, {}),
            target=types_pb2.Descriptor(digest='sha256:of-the-manifest')))

    def Update(self, request, context):
        self.state.enter('Update', request, context)
        image = request.image
        self._require(image.name, context)
        if not image.HasField('target'):  # containerd crashes
            context.abort(grpc.StatusCode.UNAVAILABLE, 'Socket closed')
        labels = self.state.image_labels.setdefault(image.name, {})
        for path in request.update_mask.paths:
            key = path.removeprefix('labels.')
            labels[key] = image.labels[key]
            if not labels[key]:  # as containerd does
                del labels[key]
        return images_pb2.UpdateImageResponse(image=image)

    def _require(self, image_id, context):
        """The CRI plugin keeps a record for each image ID."""
        if image_id not in self.state.images.values():
            context.abort(grpc.StatusCode.NOT_FOUND, image_id)

    def Delete(self, request, context):
        self.state.enter('Delete', request, context)
        if self.state.records.pop(request.name, None) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, request.name)
        return empty_pb2.Empty()


class Leases(leases_pb2_grpc.LeasesServicer):

    def __init__(self, state: State) -> None:
        self.state = state

    def Create(self, request, context):
        self.state.leases[request.id] = dict(request.labels)
        return leases_pb2.CreateResponse(lease=leases_pb2.Lease(
            id=request.id, labels=request.labels))

    def Delete(self, request, context):
        self.state.enter('LeaseDelete', request, context)
        del self.state.leases[request.id]
        return empty_pb2.Empty()

    def AddResource(self, request, context):
        self.state.enter('AddResource', request, context)
        return empty_pb2.Empty()

    def List(self, request, context):
        (wanted,) = request.filters
        return leases_pb2.ListResponse(leases=[
            leases_pb2.Lease(id=ident, labels=labels)
            for ident, labels in self.state.leases.items()
            if wanted in {f'labels."{key}"' for key in labels}])


class Containers(containers_pb2_grpc.ContainersServicer):

    def __init__(self, state: State) -> None:
        self.state = state

    def _record(self, source, kind):
        return containers_pb2.Container(
            id=source.id, image='image', snapshotter='overlayfs',
            snapshot_key=source.id,
            spec=self.state.spec(source.id) if kind == 'container' else None,
            labels={**source.labels, 'io.cri-containerd.kind': kind})

    def _all(self):
        return {
            **{i: self._record(s, 'sandbox')
               for i, s in self.state.sandboxes.items()},
            **{i: self._record(c, 'container')
               for i, c in self.state.containers.items()}}

    def Get(self, request, context):
        self.state.enter('Get', request, context)
        found = self._all().get(request.id)
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, 'no such container')
        return containers_pb2.GetContainerResponse(container=found)

    def List(self, request, context):
        self.state.enter('List', request, context)
        return containers_pb2.ListContainersResponse(
            containers=list(self._all().values()))


class Snapshots(snapshots_pb2_grpc.SnapshotsServicer):

    def __init__(self, state: State) -> None:
        self.state = state

    def Prepare(self, request, context):
        self.state.enter('Prepare', request, context)
        if request.parent and request.parent not in self.state.snapshots:
            context.abort(grpc.StatusCode.NOT_FOUND, request.parent)
        self.state.snapshots[request.key] = request.parent
        return snapshots_pb2.PrepareSnapshotResponse()

    def Commit(self, request, context):
        self.state.enter('Commit', request, context)
        if request.name in self.state.snapshots:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, request.name)
        self.state.snapshots[request.name] = self.state.snapshots.pop(
            request.key)
        return empty_pb2.Empty()

    def Stat(self, request, context):
        self.state.enter('Stat', request, context)
        if request.key not in self.state.snapshots:
            context.abort(grpc.StatusCode.NOT_FOUND, request.key)
        return snapshots_pb2.StatSnapshotResponse()

    def Remove(self, request, context):
        self.state.enter('RemoveSnapshot', request, context)
        if self.state.snapshots.pop(request.key, None) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, request.key)
        return empty_pb2.Empty()

    def Mounts(self, request, context):
        self.state.enter('Mounts', request, context)
        return snapshots_pb2.MountsResponse(mounts=[types_pb2.Mount(
            type='overlay', source='overlay', options=[
                'workdir=/work', f'upperdir={self.state.upper(request.key)}',
                'lowerdir=/lower'])])


class Introspection(introspection_pb2_grpc.IntrospectionServicer):
    """Plugins of a containerd without a thin pool: devmapper failed."""

    def __init__(self, state: State) -> None:
        self.state = state

    def Plugins(self, request, context):
        self.state.enter('Plugins', request, context)
        kind = 'io.containerd.snapshotter.v1'
        return introspection_pb2.PluginsResponse(plugins=[
            introspection_pb2.Plugin(type=kind, id='overlayfs'),
            introspection_pb2.Plugin(type=kind, id='native'),
            introspection_pb2.Plugin(
                type=kind, id='devmapper',
                init_err=introspection_pb2.LoadError(
                    code=2, message='devmapper not configured'))])


class Version(version_pb2_grpc.VersionServicer):

    def Version(self, request, context):
        return version_pb2.VersionResponse(version='1.6.20~ds1')


class Tasks(tasks_pb2_grpc.TasksServicer):

    def __init__(self, state: State) -> None:
        self.state = state

    def Kill(self, request, context):
        self.state.enter('Kill', request, context)
        self.state.containers[
            request.container_id].state = pb.CONTAINER_EXITED
        return empty_pb2.Empty()

    def Get(self, request, context):
        self.state.enter('GetTask', request, context)
        paused = request.container_id in self.state.paused
        return tasks_pb2.GetResponse(process=tasks_pb2.Process(
            status=tasks_pb2.PAUSED if paused else tasks_pb2.RUNNING))

    def Pause(self, request, context):
        self.state.enter('Pause', request, context)
        self.state.paused.add(request.container_id)
        return empty_pb2.Empty()

    def Resume(self, request, context):
        self.state.enter('Resume', request, context)
        self.state.paused.remove(request.container_id)
        return empty_pb2.Empty()

    def Metrics(self, request, context):
        self.state.enter('Metrics', request, context)
        return tasks_pb2.MetricsResponse(metrics=[
            tasks_pb2.Metric(data=data) for data in self.state.metrics])


class Events(events_pb2_grpc.EventsServicer):
    """Each subscription gets the next list of state.streams, then ends.

    If none is left, it stays open without events.
    """

    def __init__(self, state: State) -> None:
        self.state = state

    def Subscribe(self, request, context):
        self.state.enter('Subscribe', request, context)
        if self.state.streams:
            yield from self.state.streams.pop(0)
            return
        while context.is_active() and not self.state.closing.wait(0.05):
            pass


class FakeContainerd(fixtures.Fixture):
    """A running fake containerd.

    Attributes: ``conf`` (a ConfigOpts with its address), ``state``.
    """

    def _setUp(self) -> None:
        # not below TMPDIR: the path of a Unix socket has at most 107 bytes
        root = pathlib.Path(tempfile.mkdtemp(prefix='kt-', dir='/tmp'))
        self.addCleanup(shutil.rmtree, root, ignore_errors=True)
        self.state = State(root)
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.conf([], default_config_files=[], default_config_dirs=[])
        self.conf.set_override('address', str(root / 'sock'), 'containerd')
        self.conf.set_override('state_path', str(root / 'lib'))
        self.conf.set_override('run_path', str(root / 'run'))
        self.start()
        self.addCleanup(self.stop)
        self.addCleanup(self.state.closing.set)

    def stop(self) -> None:
        """Stop serving, as when containerd exits; the state stays."""
        self.server.stop(None).wait()

    def start(self) -> None:
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        cri_pb2_grpc.add_RuntimeServiceServicer_to_server(
            Runtime(self.state), self.server)
        cri_pb2_grpc.add_ImageServiceServicer_to_server(
            Images(self.state), self.server)
        content_pb2_grpc.add_ContentServicer_to_server(
            Content(self.state), self.server)
        diff_pb2_grpc.add_DiffServicer_to_server(
            Diff(self.state), self.server)
        images_pb2_grpc.add_ImagesServicer_to_server(
            ImageRecords(self.state), self.server)
        leases_pb2_grpc.add_LeasesServicer_to_server(
            Leases(self.state), self.server)
        containers_pb2_grpc.add_ContainersServicer_to_server(
            Containers(self.state), self.server)
        snapshots_pb2_grpc.add_SnapshotsServicer_to_server(
            Snapshots(self.state), self.server)
        introspection_pb2_grpc.add_IntrospectionServicer_to_server(
            Introspection(self.state), self.server)
        version_pb2_grpc.add_VersionServicer_to_server(
            Version(), self.server)
        tasks_pb2_grpc.add_TasksServicer_to_server(
            Tasks(self.state), self.server)
        events_pb2_grpc.add_EventsServicer_to_server(
            Events(self.state), self.server)
        self.server.add_insecure_port(f'unix://{self.conf.containerd.address}')
        self.server.start()
