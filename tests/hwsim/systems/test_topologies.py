"""Tables of shapes: the library against published counts, SCALE-Sim's files, and what is wrong in a table."""

from __future__ import annotations

import pytest

from hwsim.systems.table import TableError
from hwsim.systems.topologies import parse_topology, topology, topology_names
from hwsim.systems.work import Workload
from intir import BIPOLAR, TERNARY, signed, unsigned

#: Multiply-accumulates of the convolutions and of the dense layers, and weights without biases, in millions.
PUBLISHED = {
    "alexnet": (665.784864, 58.621952, 60.954656),  # Eyeriss (JSSC 2017): 666 M; Krizhevsky: 60 M parameters
    "vgg16": (15346.630656, 123.633664, 138.344128),  # Eyeriss (ISSCC 2016): 15.3 G, 14.7 M of them in convolutions
    "resnet18": (1813.561344, 0.512, 11.678912),  # He et al.: 1.8 G; torchvision: 1.81 G, 11.69 M with biases and norms
    "resnet50": (4087.136256, 2.048, 25.502912),  # torchvision: 4.09 G, 25.56 M
    "mobilenet_v1": (567.716352, 1.024, 4.209088),  # Howard et al.: 569 M, 4.2 M
    "lenet300": (0, 0.2662, 0.2662),  # Deep Compression: 266 K
    "lenet5": (1.888, 0.405, 0.4305),  # Deep Compression: 431 K
    "cnv": (59.06304, 0.398336, 1.542848),  # BNN-PYNQ: 1.5 M
}


def counts(workload: Workload) -> tuple[float, float, float]:
    convolved = sum(work.macs for work in workload.works if work.product and work.product.window)
    weights = sum(work.weights.elements for work in workload.works if work.weights)
    return convolved / 1e6, (workload.macs - convolved) / 1e6, weights / 1e6


def test_the_library_counts_as_published() -> None:
    assert {name: counts(topology(name)) for name in topology_names()} == PUBLISHED


@pytest.mark.parametrize("name", topology_names())
def test_what_is_read_was_made(name: str) -> None:
    workload = topology(name)
    made = {"": workload.input}
    for work in workload.works:
        assert len(work.inputs) == len(work.reads)
        for source, read in zip(work.inputs, work.reads, strict=True):
            assert (read.elements, read.type) == (made[source].elements, made[source].type)
        made[work.name] = work.output
        if work.product:
            assert work.product.groups * work.product.filters * work.product.pixels == work.output.elements
            assert work.weights is not None
            assert work.weights.elements == work.product.groups * work.product.filters * work.product.terms
            assert work.matrix is None


def test_residuals_are_added_to_the_sums() -> None:
    works = {work.name: work for work in topology("resnet18").works}
    assert works["conv2_1b"].inputs == ("conv2_1a", "pool1")
    assert works["conv3_1b"].inputs == ("conv3_1a", "conv3_1_down")
    size = 56 * 56 * 64
    assert works["conv2_1b"].operations == {"add": 2 * size, "multiply": size, "compare": 2 * size}
    assert works["conv2_1a"].operations == {"add": size, "multiply": size, "compare": 2 * size}
    assert works["conv2_1a"].constant_bits == 64 * works["conv2_1a"].sums.bits  # type: ignore[union-attr]


def test_types() -> None:
    cnv = {work.name: work for work in topology("cnv").works}
    assert [cnv[name].arithmetic for name in ("conv1", "conv2", "pool2", "fc3")] == ["integer", "binary", "none", "binary"]
    assert cnv["conv2"].reads[0].bytes == 30 * 30 * 64 / 8
    assert cnv["conv2"].weights.bytes == 9 * 64 * 64 / 8  # type: ignore[union-attr]
    assert cnv["conv2"].operations == {"compare": 28 * 28 * 64}
    assert cnv["fc3"].output.type == cnv["fc3"].sums
    table = parse_topology("layer,kind,height,width,channels,filters,activation_bits,weight_bits,output_bits,weight_density\n"
                           "a,dense,1,1,4,2,ternary,bipolar,s4,.5\nb,dense,1,1,2,3,s4,2,,\n")
    a, b = table.works
    assert (a.reads[0].type, a.weights.type, a.weights.density, a.output.type) == (TERNARY, BIPOLAR, 0.5, signed(4))  # type: ignore[union-attr]
    assert (a.sums.lo, a.sums.hi, b.weights.type) == (-4, 4, signed(2))  # type: ignore[union-attr]
    assert table.input.type == TERNARY and unsigned(8).contains(topology("alexnet").input.type)


def test_windows_and_groups() -> None:
    works = {work.name: work for work in topology("alexnet").works}
    conv2 = works["conv2"].product
    assert conv2 is not None and conv2.window is not None
    assert (conv2.pixels, conv2.terms, conv2.filters, conv2.groups) == (729, 1200, 128, 2)
    assert (conv2.window.in_size, conv2.window.out_size, conv2.window.kernel) == ((27, 27), (27, 27), (5, 5))
    depthwise = topology("mobilenet_v1").works[1].product
    assert depthwise is not None and (depthwise.groups, depthwise.filters, depthwise.terms) == (32, 1, 9)
    one = parse_topology("layer,kind,height,width,channels,kernel,stride,padding,dilation,filters,activation_bits,weight_bits\n"
                         "a,conv,1,100,4,1x7,1x2,0x3,1x2,8,8,8\n").works[0]
    assert one.product is not None and one.product.window is not None
    assert one.product.window.out_size == (1, 47) and one.product.terms == 28


def test_concat_and_add() -> None:
    table = parse_topology("layer,kind,height,width,channels,kernel,filters,activation_bits,weight_bits,reads\n"
                           "a,conv,4,4,3,1,8,8,8,\nb,conv,4,4,3,1,8,8,8,input\nc,concat,4,4,16,,,8,,a b\n"
                           "d,conv,4,4,16,1,8,8,8,\ne,add,4,4,8,,,8,,d a\n")
    c, e = table.works[2], table.works[4]
    assert (c.kind, c.inputs, c.output.elements, c.operations) == ("move", ("a", "b"), 256, {})
    assert (e.kind, e.inputs, e.operations["add"]) == ("elementwise", ("d", "a"), 256)


SCALESIM = """Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
Conv1     ,224         ,224        ,11           ,11          ,3       ,96        ,4      ,

\tConv2, 27, 27, 5, 5, 96, 256, 1,#dw
Conv2, 27, 27, 5, 5, 96, 256, 1, 2:4
"""


def test_scalesim_convolutions() -> None:
    workload = parse_topology(SCALESIM, "alexnet")
    first, second, third = workload.works
    assert [(work.name, work.product.pixels, work.product.terms, work.product.filters) for work in workload.works if work.product] == [
        ("Conv1", 3025, 363, 96), ("Conv2", 529, 2400, 256), ("Conv2'", 529, 2400, 256)]  # as SCALE-Sim 3.0.0 reports them
    assert first.product is not None and first.product.window is not None and first.product.window.out_size == (55, 55)
    assert (first.inputs, first.reads[0].elements) == (("",), 224 * 224 * 3)
    assert [work.weights.density for work in (second, third) if work.weights] == [1.0, 0.5]


def test_scalesim_matrices() -> None:
    (one,) = parse_topology("Layer,M,N,K,\nL0,196,192,384,\n").works
    assert one.product is not None and one.product.window is None
    assert (one.product.pixels, one.product.filters, one.product.terms) == (196, 192, 384)
    assert (one.reads[0].elements, one.output.elements) == (196 * 384, 196 * 192)


HEADER = "layer,kind,height,width,channels,kernel,stride,padding,groups,filters,activation_bits,weight_bits,reads\n"
GOOD = "a,conv,8,8,3,3,1,1,,16,8,8,\n"


@pytest.mark.parametrize(("text", "wanted"), [
    ("", "t is empty; start with a header"),
    ("# nothing\n\nlayer,kind\n", "t, line 3: the column 'height' is missing"),
    (HEADER, "t has no layers"),
    (HEADER.replace("filters", "filter") + GOOD, "t, line 1: there is no column 'filter'; did you mean 'filters'?"),
    (HEADER.replace("stride", "kernel") + GOOD, "t, line 1: the column 'kernel' is there twice"),
    (HEADER + "a,convolution,8,8,3,3,1,1,,16,8,8,\n", "t, line 2: kind 'convolution' is none of conv, dense"),
    (HEADER + "a,conv,8,8,0,3,1,1,,16,8,8,\n", "t, line 2: channels '0' is no whole number from 1"),
    (HEADER + "a,conv,8,8,3,3,1,1,,16,8,,\n", "t, line 2: weight_bits is empty"),
    (HEADER + "a,conv,8,8,3,3,1,1,,16,0,8,\n", "t, line 2: activation_bits '0' is no type"),
    (HEADER + "a,conv,8,8,3,3x3x3,1,1,,16,8,8,\n", "t, line 2: kernel '3x3x3' is no size"),
    (HEADER + "a,conv,8,8,3,30,1,1,,16,8,8,\n", "t, line 2: kernel '30' reaches over 30, more than an input of 8"),
    (HEADER + "a,conv,8,8,3,3,1,1,2,16,8,8,\n", "t, line 2: groups '2' does not divide 3 channels and 16 filters"),
    (HEADER + "a,conv,8,8,3,1e99,1,1,,16,8,8,\n", "t, line 2: kernel '1e99' is no whole number"),
    (HEADER + GOOD + GOOD, "t, line 3: layer 'a' is taken"),
    (HEADER + GOOD + "b,conv,8,8,16,3,1,1,,16,8,8,c\n", "t, line 3: reads 'c' names 'c', which no row before it makes"),
    (HEADER + GOOD + "b,conv,8,8,3,3,1,1,,16,8,8,\n", "t, line 3: reads 'a' of 8x8x16, but the layer takes 8x8x3"),
    (HEADER + GOOD + "b,conv,8,8,16,3,1,1,,16,8,8,a input\n", "t, line 3: reads 'a input' 'input' of 8x8x3, but the layer takes 8x8x16"),
    (HEADER + GOOD + "b,conv,8,8,16,3,1,1,,16,4,8,\nc,conv,8,8,16,3,1,1,,16,8,8,a\n", "t, line 4: activation_bits '8' takes u8 of 'a', which is u4"),
    (HEADER + GOOD + "c,concat,8,8,20,,,,,,8,,a input\n", "t, line 3: channels '20' of all that it reads are 19"),
    (HEADER + GOOD + "c,concat,8,4,19,,,,,,8,,a input\n", "t, line 3: reads 'a input' 'a' of 8x8x16, but the layer takes 8x4 pixels"),
    (HEADER + "a,conv,8,8,3,3,1,1,,16,8,8,,9\n", "t, line 2 has 14 cells, but the header names 13 columns"),
    (HEADER + 'a,"conv,8\n', "t, line 2 is no row of a CSV file"),
    ("Layer,M,N,K\nL0,1,2\n", "t, line 2 has 3 cells; a row of this SCALE-Sim file has layer, m, n, k"),
    ("Layer,M,N,K\nL0,1,x,2\n", "t, line 2: n 'x' is no whole number"),
    (SCALESIM.replace("11           ,11", "300,11"), "t, line 2: filter height '300' by 11 is larger than its input of 224 by 224"),
    (HEADER + "a,conv,8,8,3,3,1,1,,16,32,32,\n", "t, line 2: weight_bits '32' and activations of 32 bits make sums of more than 62 bits"),
    (HEADER + "a,conv,8,8,99999999,3,1,1,,16,8,8,\n", "t, line 2: channels '99999999' is no whole number from 1 to 2**24"),
    (HEADER + "a,conv,8000000,8000000,3000000,3,1,1,,16,8,8,\n", "t, line 2: channels '3000000' makes a layer of 2.76e+22 multiply-accumulates"),
    ("Layer,M,N,K\nL0,9999999,9999999,9999999\n", "t, line 2: n '9999999' makes a layer of 1e+21 multiply-accumulates"),
    (SCALESIM.replace("2:4", "5:4"), "t, line 5: sparsity 5:4 is no share"),
], ids=lambda text: text[-40:].strip().replace("\n", " "))
def test_what_is_wrong_is_said(text: str, wanted: str) -> None:
    with pytest.raises(TableError) as error:
        parse_topology(text, "t", "t")
    assert str(error.value).startswith(wanted)


def test_names() -> None:
    with pytest.raises(TableError, match="there is no topology 'alexnett'; did you mean 'alexnet'\\?"):
        topology("alexnett")
    with pytest.raises(TableError, match="cannot read the topology 'no.csv': No such file"):
        topology("no.csv")
