"""An onnx.ModelProto as plain values, as far as it keeps to its limits.

It is a part of the program reading_child.py, which loads nothing of the framework but what reading takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from ...schema.process_limits import Unreadable
from .dtypes import NAMES, TEXTS
from .stored import MOST_AXES, Stored, Unsupported, short, type_name

DEEPEST = 16  # graphs within graphs
LONGEST = 1 << 31  # of an axis of an input

# What torch's exporter by torch.export says of numbers, as keys of metadata.
SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"  # of a graph: its parameters
FOLDED = "pkg.onnxscript.optimizer.folded_from"  # of a value: what it was computed of


class Reading(Stored):
    """One file while it is read.

    versions   of the operators, by domain
    """

    versions: Mapping[str, int] = MappingProxyType({})

    def model(self, proto: Any) -> dict[str, Any]:
        """A ModelProto as plain values."""
        if not proto.HasField("graph"):
            raise Unreadable("has no graph")
        if proto.training_info:
            raise Unsupported("holds graphs that train it (training_info), which are not read")
        domains: dict[str, int] = {}
        for opset in proto.opset_import:
            domain = self.name(opset.domain, "opset_import")
            domains["" if domain == "ai.onnx" else domain] = opset.version
        if "" not in domains and any(node.domain in ("", "ai.onnx") for node in proto.graph.node):
            raise Unreadable("does not say which version of ONNX's operators it has (opset_import)")
        self.versions = domains
        producer = " ".join(filter(None, (proto.producer_name, proto.producer_version)))
        return {
            "domains": domains,
            "producer": self.text(producer, "producer_name"),
            "metadata": self.metadata(proto.metadata_props) | self.signature(proto.graph),
            "folded": self.folded(proto.graph),
            "graph": self.graph(proto.graph, "", 0),
            "functions": [self.function(each) for each in proto.functions],
        }

    def metadata(self, items: Any) -> dict[str, str]:
        found: dict[str, str] = {}
        for item in items:
            key = self.text(item.key, "metadata_props")
            if key in found:
                raise Unreadable(f"metadata_props has '{short(key)}' twice")
            found[key] = self.text(item.value, "metadata_props")
        return found

    def signature(self, proto: Any) -> dict[str, str]:
        """What torch.export says of a graph's parameters."""
        items = [item for item in getattr(proto, "metadata_props", ()) if item.key == SIGNATURE]
        return self.metadata(items[:1])

    def folded(self, proto: Any) -> dict[str, str]:
        """What values were computed of, as torch's exporter says it."""
        found = {}
        for value in proto.value_info:
            for item in getattr(value, "metadata_props", ()):
                if item.key == FOLDED:
                    found[self.name(value.name, "value_info")] = self.text(item.value, "metadata_props")
        return found

    def graph(self, proto: Any, where: str, depth: int) -> dict[str, Any]:
        """A GraphProto as plain values; `where` is the node that has it."""
        if depth > DEEPEST:
            raise Unreadable(f"{where}: graphs lie within graphs more than {DEEPEST} deep")
        initializers = {}
        for tensor in (*proto.initializer, *proto.sparse_initializer):
            sparse = tensor.DESCRIPTOR.name == "SparseTensorProto"
            name = self.name(tensor.values.name if sparse else tensor.name, "initializer")
            label = f"{where}initializer '{short(name)}'"
            if not name:
                raise Unreadable(f"{where}an initializer has no name")
            if name in initializers:
                raise Unreadable(f"{label} is there twice")
            initializers[name] = self.sparse(tensor, label) if sparse else self.tensor(tensor, label)
        return {
            "name": self.name(proto.name, "graph.name"),
            "nodes": self.nodes(proto.node, where, depth),
            "inputs": [self.value(each, f"{where}input") for each in proto.input],
            "outputs": [self.value(each, f"{where}output") for each in proto.output],
            "initializers": initializers,
        }

    def function(self, proto: Any) -> dict[str, Any]:
        """A FunctionProto as plain values."""
        name = self.name(proto.name, "function")
        where = f"function '{short(name)}', "
        domains = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in proto.opset_import}
        self.versions = domains
        return {
            "name": name,
            "domain": self.name(proto.domain, where),
            "overload": self.name(getattr(proto, "overload", ""), where),
            "inputs": self.names(proto.input, where),
            "outputs": self.names(proto.output, where),
            "attributes": self.names(proto.attribute, where),
            "defaults": self.attributes(proto.attribute_proto, where, 0),
            "domains": domains,
            "nodes": self.nodes(proto.node, where, 0),
        }

    def nodes(self, protos: Any, where: str, depth: int) -> list[dict[str, Any]]:
        self.count("nodes", len(protos))
        return [self.node(node, f"{where}node {number}", depth) for number, node in enumerate(protos)]

    def node(self, proto: Any, number: str, depth: int) -> dict[str, Any]:
        where = f"{number} ({short(proto.op_type)} '{short(proto.name)}')" if proto.name else number
        domain = self.name(proto.domain, where)
        domain = "" if domain == "ai.onnx" else domain
        demand_signature(proto, domain, self.versions.get(domain, 0), where)
        return {
            "op": self.name(proto.op_type, where),
            "domain": domain,
            "name": self.name(proto.name, where),
            "inputs": self.names(proto.input, where),
            "outputs": self.names(proto.output, where),
            "attributes": self.attributes(proto.attribute, f"{where}, ", depth),
        }

    def value(self, proto: Any, where: str) -> list[Any]:
        """Name, dtype and shape of a ValueInfoProto; shape None where it is not known."""
        name = self.name(proto.name, where)
        where = f"{where} '{short(name)}'"
        kind = proto.type.WhichOneof("value")
        if kind != "tensor_type":
            return [name, (kind or "unknown").removesuffix("_type"), None]
        tensor = proto.type.tensor_type
        dtype = "str" if tensor.elem_type == TEXTS else NAMES.get(tensor.elem_type, type_name(tensor.elem_type))
        if not tensor.HasField("shape"):
            return [name, dtype, None]
        if len(tensor.shape.dim) > MOST_AXES:
            raise Unreadable(f"{where} has more than {MOST_AXES} axes")
        return [name, dtype, [self.length(dim, where) for dim in tensor.shape.dim]]

    def length(self, dim: Any, where: str) -> int | str | None:
        """The length of an axis: a number, a name, or None."""
        kind = dim.WhichOneof("value")
        if kind == "dim_value":
            if dim.dim_value >= LONGEST:
                raise Unreadable(f"{where} has an axis of length {dim.dim_value}")
            return dim.dim_value if dim.dim_value >= 0 else None
        return (self.name(dim.dim_param, where) or None) if kind == "dim_param" else None

    # Attributes -------------------------------------------------------------------------------------------------------

    def attributes(self, protos: Any, where: str, depth: int) -> dict[str, Any]:
        """Attributes by name, each as [kind, value]."""
        found: dict[str, Any] = {}
        for proto in protos:
            name = self.name(proto.name, where)
            label = f"{where}attribute '{short(name)}'"
            if name in found:
                raise Unreadable(f"{label} is there twice")
            found[name] = self.attribute(proto, label, depth)
        return found

    def attribute(self, proto: Any, where: str, depth: int) -> list[Any]:
        if proto.ref_attr_name:
            return ["reference", self.name(proto.ref_attr_name, where)]
        kind = attribute_kind(proto)
        if kind == "FLOAT":
            return ["value", float(proto.f)]
        if kind == "INT":
            return ["value", int(proto.i)]
        if kind == "STRING":
            return ["value", self.text(proto.s, where)]
        if kind in ("FLOATS", "INTS", "STRINGS"):
            values = {"FLOATS": proto.floats, "INTS": proto.ints, "STRINGS": proto.strings}[kind]
            self.count("numbers", len(values))
            return ["value", [self.text(each, where) for each in values] if kind == "STRINGS" else list(values)]
        if kind == "TENSOR":
            return ["tensor", self.tensor(proto.t, where)]
        if kind == "SPARSE_TENSOR":
            return ["tensor", self.sparse(proto.sparse_tensor, where)]
        if kind == "GRAPH":
            return ["graph", self.graph(proto.g, f"{where}, ", depth + 1)]
        if kind == "GRAPHS":
            return ["graphs", [self.graph(each, f"{where}, ", depth + 1) for each in proto.graphs]]
        if kind == "TENSORS":
            return ["tensors", [self.tensor(each, where) for each in proto.tensors]]
        raise Unsupported(f"{where} is of the kind {kind}, which is not read")


def demand_signature(proto: Any, domain: str, version: int, where: str) -> None:
    """Refuse a node with other numbers of inputs and outputs, or other kinds of attributes, than its operator has.

    An operator that onnx does not know is left to whoever translates it.
    """
    schema = schema_of(proto.op_type, domain, version)
    if schema is None:
        return
    for word, have, least, most in (
        ("inputs", len(proto.input), schema.min_input, schema.max_input),
        ("outputs", len(proto.output), schema.min_output, schema.max_output),
    ):
        if not least <= have <= most:
            told = (
                f"{least} to {most}" if least < most < 1 << 30 else f"{least} or more" if most > least else f"{least}"
            )
            raise Unreadable(f"{where}: {proto.op_type} has {told} {word}, this one has {have}")
    given = {attribute.name: attribute for attribute in proto.attribute}
    for name, declared in schema.attributes.items():
        if name not in given and declared.required:
            raise Unreadable(f"{where}: {proto.op_type} has no '{name}', which it must have")
        if name in given and not given[name].ref_attr_name:
            kind, wanted = attribute_kind(given[name]), declared.type.name
            if kind != wanted:
                raise Unreadable(f"{where}: '{name}' of {proto.op_type} is of the kind {kind}, expected is {wanted}")


@cache
def schema_of(op: str, domain: str, version: int) -> Any:
    """What onnx knows of an operator; None where it does not."""
    import onnx

    try:
        return onnx.defs.get_schema(op, version, domain)
    except (onnx.defs.SchemaError, TypeError):
        return None


def attribute_kind(proto: Any) -> str:
    """What an attribute holds; old files do not say it."""
    import onnx

    if proto.type:
        try:
            return onnx.AttributeProto.AttributeType.Name(proto.type)
        except ValueError:
            return str(proto.type)
    for field, kind in (("f", "FLOAT"), ("i", "INT"), ("s", "STRING"), ("t", "TENSOR"), ("g", "GRAPH")):
        if proto.HasField(field):
            return kind
    lists = ("FLOATS", "INTS", "STRINGS", "TENSORS", "GRAPHS")
    return next((kind for kind in lists if getattr(proto, kind.lower())), "INTS")
