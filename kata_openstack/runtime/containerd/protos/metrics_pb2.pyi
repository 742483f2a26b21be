from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Metrics2(_message.Message):
    __slots__ = ("memory", "io")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    IO_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    io: Io
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ..., io: _Optional[_Union[Io, _Mapping]] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("usage_limit",)
    USAGE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    usage_limit: int
    def __init__(self, usage_limit: _Optional[int] = ...) -> None: ...

class Io(_message.Message):
    __slots__ = ("usage",)
    USAGE_FIELD_NUMBER: _ClassVar[int]
    usage: _containers.RepeatedCompositeFieldContainer[IoEntry]
    def __init__(self, usage: _Optional[_Iterable[_Union[IoEntry, _Mapping]]] = ...) -> None: ...

class IoEntry(_message.Message):
    __slots__ = ("rbytes", "wbytes")
    RBYTES_FIELD_NUMBER: _ClassVar[int]
    WBYTES_FIELD_NUMBER: _ClassVar[int]
    rbytes: int
    wbytes: int
    def __init__(self, rbytes: _Optional[int] = ..., wbytes: _Optional[int] = ...) -> None: ...

class Metrics1(_message.Message):
    __slots__ = ("memory", "blkio")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    BLKIO_FIELD_NUMBER: _ClassVar[int]
    memory: Memory1
    blkio: BlkIo
    def __init__(self, memory: _Optional[_Union[Memory1, _Mapping]] = ..., blkio: _Optional[_Union[BlkIo, _Mapping]] = ...) -> None: ...

class Memory1(_message.Message):
    __slots__ = ("usage",)
    USAGE_FIELD_NUMBER: _ClassVar[int]
    usage: MemoryEntry
    def __init__(self, usage: _Optional[_Union[MemoryEntry, _Mapping]] = ...) -> None: ...

class MemoryEntry(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class BlkIo(_message.Message):
    __slots__ = ("io_service_bytes_recursive",)
    IO_SERVICE_BYTES_RECURSIVE_FIELD_NUMBER: _ClassVar[int]
    io_service_bytes_recursive: _containers.RepeatedCompositeFieldContainer[BlkIoEntry]
    def __init__(self, io_service_bytes_recursive: _Optional[_Iterable[_Union[BlkIoEntry, _Mapping]]] = ...) -> None: ...

class BlkIoEntry(_message.Message):
    __slots__ = ("op", "value")
    OP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    op: str
    value: int
    def __init__(self, op: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
