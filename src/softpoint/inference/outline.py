"""What a torch file says that it holds, found out before torch reads it.

Files of `torch.save` describe tensors and plain values in a small language, pickle's. Here its words are read one by
one, with sketches in place of tensors: nothing is imported, called or allocated, and whatever a checkpoint of ours has
no need for is an error.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# A million labeled images by name take as many.
MOST_WORDS = 4_000_000

_ITEM_SIZES = {
    "Bool": 1, "Byte": 1, "Char": 1, "Short": 2, "Half": 2, "BFloat16": 2, "Int": 4, "Float": 4, "Long": 8, "Double": 8,
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = frozenset(("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Sketch(NamedTuple):
    """Something of which only the kind matters: a list, a dict, a tensor, or what makes them."""

    kind: str


class _Storage(NamedTuple):
    """So many numbers of a tensor's memory."""

    numbers: int


_LIST, _DICT, _TENSOR = _Sketch("list"), _Sketch("dict"), _Sketch("tensor")
_MAKE_DICT, _MAKE_TENSOR = _Sketch("collections OrderedDict"), _Sketch("torch._utils _rebuild_tensor_v2")
_MAKERS = {sketch.kind: sketch for sketch in (_MAKE_DICT, _MAKE_TENSOR)}
_MAKERS |= {f"torch {name}Storage": _Sketch(f"{name}Storage") for name in _ITEM_SIZES}


def check_outline(described: bytes, sizes: Mapping[str, int]) -> None:
    """Raises ValueError unless `described` is of plain values and of tensors that fit into the file's own memory.

    `sizes` is how many bytes the file has under each key that a tensor may ask for.

    >>> check_outline(b"\\x80\\x02}X\\x01\\x00\\x00\\x00aK\\x03s.", {})
    >>> check_outline(b"\\x80\\x02cos\\nsystem\\n.", {})
    Traceback (most recent call last):
    ValueError: it asks for 'os system', and is to hold tensors and plain values alone
    """
    machine = _Machine(sizes)
    try:
        for count, (word, argument, _) in enumerate(pickletools.genops(described)):
            if count >= MOST_WORDS:
                raise ValueError(f"its description is longer than {MOST_WORDS:,} words")
            machine.step(word.name, argument)
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError("its description is damaged") from error


class _Machine:
    """The stack, the marks on it and the memory of pickle's language."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """One word; ValueError for one that files of ours never use."""
        if name in _LITERALS:
            self.stack.append(_plain(argument))
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in _TUPLES:
            self.stack.append(self._pop(_TUPLES[name]))
        elif step := _STEPS.get(name):
            step(self, argument)
        else:
            raise ValueError(f"its description uses {name}, which checkpoints have no need for")

    def _pop(self, count: int) -> tuple:
        """The last `count` values, off the stack; never more than stand above the last mark."""
        start = len(self.stack) - count
        if start < (self.marks[-1] if self.marks else 0):
            raise IndexError
        values = tuple(self.stack[start:])
        del self.stack[start:]
        return values

    def _pop_mark(self) -> tuple:
        values = self._pop(len(self.stack) - self.marks[-1])
        self.marks.pop()
        return values

    def protocol(self, number: int) -> None:
        if number != 2:
            raise ValueError(f"its description is of pickle's protocol {number}, where torch.save writes 2")

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def find(self, name: str) -> None:
        if name not in _MAKERS:
            raise ValueError(f"it asks for {name[:80]!r}, and is to hold tensors and plain values alone")
        self.stack.append(_MAKERS[name])

    def gather(self, _: Any) -> None:
        self.stack.append(self._pop_mark())

    def append(self, _: Any) -> None:
        self._pop(1)
        self._expect(_LIST)

    def extend(self, _: Any) -> None:
        self._pop_mark()
        self._expect(_LIST)

    def enter(self, _: Any) -> None:
        self._enter(self._pop(2))

    def enter_all(self, _: Any) -> None:
        self._enter(self._pop_mark())

    def _enter(self, pairs: tuple) -> None:
        # A key is hashed: of tuples in tuples, that takes a stack as deep, or ages.
        if len(pairs) % 2 or not all(isinstance(key, str | int) for key in pairs[::2]):
            raise ValueError("a key of one of its dictionaries is neither text nor a number")
        self._expect(_DICT)

    def _expect(self, sketch: _Sketch) -> None:
        if self.stack[-1] is not sketch:
            raise ValueError(f"its description fills what is no {sketch.kind}")

    def build(self, _: Any) -> None:
        """What `state_dict` notes about itself, as attributes of a dictionary."""
        if self._pop(1)[0] is not _DICT:
            raise ValueError("its description changes an object")
        self._expect(_DICT)

    def call(self, _: Any) -> None:
        maker, arguments = self._pop(2)
        if maker is _MAKE_DICT and arguments == ():
            self.stack.append(_DICT)
        elif maker is _MAKE_TENSOR and isinstance(arguments, tuple):
            _check_tensor(arguments)
            self.stack.append(_TENSOR)
        else:
            raise ValueError("its description calls what is no tensor and no dictionary")

    def storage(self, _: Any) -> None:
        (asked,) = self._pop(1)
        match asked:
            case ("storage", _Sketch(kind), str(key), str(), int(count)) if kind in _MEMORY:
                pass
            case _:
                raise ValueError("its description asks for memory in a way that torch.save does not")
        if self.sizes.get(key) != count * _MEMORY[kind]:
            raise ValueError(f"a tensor of it asks for {count} numbers where it holds {self.sizes.get(key, 0)} bytes")
        self.stack.append(_Storage(count))


_MEMORY = {f"{name}Storage": size for name, size in _ITEM_SIZES.items()}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.protocol,
    "MARK": _Machine.mark,
    "GLOBAL": _Machine.find,
    "TUPLE": _Machine.gather,
    "EMPTY_LIST": lambda machine, _: machine.stack.append(_LIST),
    "EMPTY_DICT": lambda machine, _: machine.stack.append(_DICT),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "SETITEM": _Machine.enter,
    "SETITEMS": _Machine.enter_all,
    "BUILD": _Machine.build,
    "REDUCE": _Machine.call,
    "BINPERSID": _Machine.storage,
    "STOP": lambda machine, _: None,
}


def _plain(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("it holds a number beyond 64 bits")
    return value


def _check_tensor(arguments: tuple) -> None:
    """ValueError for a tensor that reaches beyond its memory, or shows it more than once."""
    match arguments:
        case (_Storage(count), int(offset), tuple(size), tuple(stride), *_):
            pass
        case _:
            raise ValueError("a tensor of it is described in a way that torch.save does not")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > 16 or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise ValueError("a tensor of it has an impossible shape")
    reach = offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if (0 not in size and reach > count) or math.prod(size) > count:
        raise ValueError(f"a tensor of it has more numbers ({math.prod(size)}) than its memory ({count})")
