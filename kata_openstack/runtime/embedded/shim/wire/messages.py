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

"""Messages between containerd and a runtime shim.

Sources, in containerd's repository: api/runtime/task/v2/shim.proto,
api/events/task.proto, api/types/mount.proto,
api/services/ttrpc/events/v1/events.proto, api/types/runtimeoptions/v1,
api/types/introspection.proto;
in the cgroups repository: cgroup2/stats/metrics.proto; in the ttrpc
repository: proto/request.proto. Fields that the shim does not use are left
out.
"""

from kata_openstack.runtime.embedded.shim.wire.protobuf import BYTES
from kata_openstack.runtime.embedded.shim.wire.protobuf import DOUBLE
from kata_openstack.runtime.embedded.shim.wire.protobuf import Field
from kata_openstack.runtime.embedded.shim.wire.protobuf import Message
from kata_openstack.runtime.embedded.shim.wire.protobuf import STRING
from kata_openstack.runtime.embedded.shim.wire.protobuf import UINT

TIMESTAMP = Message(Field(1, 'seconds', UINT), Field(2, 'nanos', UINT))
ANY = Message(Field(1, 'type_url', STRING), Field(2, 'value', BYTES))
EMPTY = Message()

# ttrpc
KEY_VALUE = Message(Field(1, 'key', STRING), Field(2, 'value', STRING))
REQUEST = Message(
    Field(1, 'service', STRING), Field(2, 'method', STRING),
    Field(3, 'payload', BYTES), Field(4, 'timeout_nano', UINT),
    Field(5, 'metadata', KEY_VALUE, repeated=True))
STATUS = Message(Field(1, 'code', UINT), Field(2, 'message', STRING))
RESPONSE = Message(Field(1, 'status', STATUS), Field(2, 'payload', BYTES))

# Runtime options
OPTIONS_TYPE = 'runtimeoptions.v1.Options'
OPTIONS = Message(Field(1, 'type_url', STRING),
                  Field(2, 'config_path', STRING))

# Answer to -info
FEATURES_TYPE = ('types.containerd.io/opencontainers/runtime-spec/1/features/'
                 'Features')
INFO = Message(
    Field(1, 'name', STRING),
    Field(2, 'version', Message(Field(1, 'version', STRING))),
    Field(3, 'options', ANY), Field(4, 'features', ANY))

# Tasks
MOUNT = Message(
    Field(1, 'type', STRING), Field(2, 'source', STRING),
    Field(3, 'target', STRING), Field(4, 'options', STRING, repeated=True))
_PROCESS = Message(Field(1, 'id', STRING), Field(2, 'exec_id', STRING))
_CONTAINER = Message(Field(1, 'id', STRING))
_STARTED = Message(Field(1, 'pid', UINT))
DELETED = Message(
    Field(1, 'pid', UINT), Field(2, 'exit_status', UINT),
    Field(3, 'exited_at', TIMESTAMP))

TASK_SERVICE = 'containerd.task.v2.Task'
TASK_METHODS = {
    'Create': (Message(
        Field(1, 'id', STRING), Field(2, 'bundle', STRING),
        Field(3, 'rootfs', MOUNT, repeated=True),
        Field(4, 'terminal', UINT), Field(5, 'stdin', STRING),
        Field(6, 'stdout', STRING), Field(7, 'stderr', STRING),
        Field(8, 'checkpoint', STRING),
        Field(9, 'parent_checkpoint', STRING),
        Field(10, 'options', ANY)), _STARTED),
    'Start': (_PROCESS, _STARTED),
    'Delete': (_PROCESS, DELETED),
    'Exec': (Message(
        Field(1, 'id', STRING), Field(2, 'exec_id', STRING),
        Field(3, 'terminal', UINT), Field(4, 'stdin', STRING),
        Field(5, 'stdout', STRING), Field(6, 'stderr', STRING),
        Field(7, 'spec', ANY)), EMPTY),
    'ResizePty': (Message(
        Field(1, 'id', STRING), Field(2, 'exec_id', STRING),
        Field(3, 'width', UINT), Field(4, 'height', UINT)), EMPTY),
    'State': (_PROCESS, Message(
        Field(1, 'id', STRING), Field(2, 'bundle', STRING),
        Field(3, 'pid', UINT), Field(4, 'status', UINT),
        Field(5, 'stdin', STRING), Field(6, 'stdout', STRING),
        Field(7, 'stderr', STRING), Field(8, 'terminal', UINT),
        Field(9, 'exit_status', UINT), Field(10, 'exited_at', TIMESTAMP),
        Field(11, 'exec_id', STRING))),
    'Pause': (_CONTAINER, EMPTY),
    'Resume': (_CONTAINER, EMPTY),
    'Kill': (Message(
        Field(1, 'id', STRING), Field(2, 'exec_id', STRING),
        Field(3, 'signal', UINT), Field(4, 'all', UINT)), EMPTY),
    'Pids': (_CONTAINER, Message(
        Field(1, 'processes', _STARTED, repeated=True))),
    'CloseIO': (Message(
        Field(1, 'id', STRING), Field(2, 'exec_id', STRING),
        Field(3, 'stdin', UINT)), EMPTY),
    'Update': (Message(
        Field(1, 'id', STRING), Field(2, 'resources', ANY)), EMPTY),
    'Wait': (_PROCESS, Message(
        Field(1, 'exit_status', UINT), Field(2, 'exited_at', TIMESTAMP))),
    'Stats': (_CONTAINER, Message(Field(1, 'stats', ANY))),
    'Connect': (_CONTAINER, Message(
        Field(1, 'shim_pid', UINT), Field(2, 'task_pid', UINT),
        Field(3, 'version', STRING))),
    'Shutdown': (Message(Field(1, 'id', STRING), Field(2, 'now', UINT)),
                 EMPTY),
}

# Events
EVENTS_SERVICE = 'containerd.services.events.ttrpc.v1.Events'
ENVELOPE = Message(
    Field(1, 'timestamp', TIMESTAMP), Field(2, 'namespace', STRING),
    Field(3, 'topic', STRING), Field(4, 'event', ANY))
FORWARD = Message(Field(1, 'envelope', ENVELOPE))
_IO = Message(
    Field(1, 'stdin', STRING), Field(2, 'stdout', STRING),
    Field(3, 'stderr', STRING), Field(4, 'terminal', UINT))
EVENTS = {  # topic: (type, message)
    '/tasks/create': ('containerd.events.TaskCreate', Message(
        Field(1, 'container_id', STRING), Field(2, 'bundle', STRING),
        Field(3, 'rootfs', MOUNT, repeated=True), Field(4, 'io', _IO),
        Field(5, 'checkpoint', STRING), Field(6, 'pid', UINT))),
    '/tasks/start': ('containerd.events.TaskStart', Message(
        Field(1, 'container_id', STRING), Field(2, 'pid', UINT))),
    '/tasks/delete': ('containerd.events.TaskDelete', Message(
        Field(1, 'container_id', STRING), Field(2, 'pid', UINT),
        Field(3, 'exit_status', UINT), Field(4, 'exited_at', TIMESTAMP),
        Field(5, 'id', STRING))),
    '/tasks/exit': ('containerd.events.TaskExit', Message(
        Field(1, 'container_id', STRING), Field(2, 'id', STRING),
        Field(3, 'pid', UINT), Field(4, 'exit_status', UINT),
        Field(5, 'exited_at', TIMESTAMP))),
    '/tasks/oom': ('containerd.events.TaskOOM', _CONTAINER),
    '/tasks/exec-added': ('containerd.events.TaskExecAdded', Message(
        Field(1, 'container_id', STRING), Field(2, 'exec_id', STRING))),
    '/tasks/exec-started': ('containerd.events.TaskExecStarted', Message(
        Field(1, 'container_id', STRING), Field(2, 'exec_id', STRING),
        Field(3, 'pid', UINT))),
    '/tasks/paused': ('containerd.events.TaskPaused', Message(
        Field(1, 'container_id', STRING))),
    '/tasks/resumed': ('containerd.events.TaskResumed', Message(
        Field(1, 'container_id', STRING))),
}

# Metrics of cgroup v2
_PRESSURE = Message(
    Field(1, 'avg10', DOUBLE), Field(2, 'avg60', DOUBLE),
    Field(3, 'avg300', DOUBLE), Field(4, 'total', UINT))
_PSI = Message(Field(1, 'some', _PRESSURE), Field(2, 'full', _PRESSURE))
METRICS_TYPE = 'io.containerd.cgroups.v2.Metrics'
METRICS = Message(
    Field(1, 'pids', Message(Field(1, 'current', UINT),
                             Field(2, 'limit', UINT))),
    Field(2, 'cpu', Message(
        Field(1, 'usage_usec', UINT), Field(2, 'user_usec', UINT),
        Field(3, 'system_usec', UINT), Field(4, 'nr_periods', UINT),
        Field(5, 'nr_throttled', UINT), Field(6, 'throttled_usec', UINT),
        Field(7, 'psi', _PSI))),
    Field(4, 'memory', Message(
        Field(1, 'anon', UINT), Field(2, 'file', UINT),
        Field(3, 'kernel_stack', UINT), Field(4, 'slab', UINT),
        Field(5, 'sock', UINT), Field(6, 'shmem', UINT),
        Field(7, 'file_mapped', UINT), Field(8, 'file_dirty', UINT),
        Field(9, 'file_writeback', UINT), Field(11, 'inactive_anon', UINT),
        Field(12, 'active_anon', UINT), Field(13, 'inactive_file', UINT),
        Field(14, 'active_file', UINT), Field(18, 'pgfault', UINT),
        Field(19, 'pgmajfault', UINT), Field(32, 'usage', UINT),
        Field(33, 'usage_limit', UINT), Field(34, 'swap_usage', UINT),
        Field(35, 'swap_limit', UINT), Field(38, 'psi', _PSI))),
    Field(6, 'io', Message(
        Field(1, 'usage', Message(
            Field(3, 'rbytes', UINT), Field(4, 'wbytes', UINT)),
              repeated=True),
        Field(2, 'psi', _PSI))),
    Field(8, 'memory_events', Message(
        Field(1, 'low', UINT), Field(2, 'high', UINT), Field(3, 'max', UINT),
        Field(4, 'oom', UINT), Field(5, 'oom_kill', UINT))))


def timestamp(seconds: float) -> dict[str, int] | None:
    """Return the values of a TIMESTAMP, None for 0.

    :param seconds: since the Unix epoch.
    """
    if not seconds:
        return None
    return {'seconds': int(seconds), 'nanos': int(seconds % 1 * 1e9)}
