# SPDX-License-Identifier: Apache-2.0
"""The types in which ggml stores tensors, and what people call mixtures of them. Tables only.

The numbers are those of the GGUF specification (`ggml_type` and `general.file_type`) and of `ggml.h`:
values are quantised in blocks, a whole number of which makes a row.
"""

from collections.abc import Mapping
from typing import NamedTuple


class BlockType(NamedTuple):
    """`values` scalars are stored together in `size_bytes`."""

    name: str
    values: int
    size_bytes: int


TYPES: Mapping[int, BlockType] = {
    0: BlockType("F32", 1, 4),
    1: BlockType("F16", 1, 2),
    2: BlockType("Q4_0", 32, 18),
    3: BlockType("Q4_1", 32, 20),
    6: BlockType("Q5_0", 32, 22),
    7: BlockType("Q5_1", 32, 24),
    8: BlockType("Q8_0", 32, 34),
    9: BlockType("Q8_1", 32, 36),
    10: BlockType("Q2_K", 256, 84),
    11: BlockType("Q3_K", 256, 110),
    12: BlockType("Q4_K", 256, 144),
    13: BlockType("Q5_K", 256, 176),
    14: BlockType("Q6_K", 256, 210),
    15: BlockType("Q8_K", 256, 292),
    16: BlockType("IQ2_XXS", 256, 66),
    17: BlockType("IQ2_XS", 256, 74),
    18: BlockType("IQ3_XXS", 256, 98),
    19: BlockType("IQ1_S", 256, 50),
    20: BlockType("IQ4_NL", 32, 18),
    21: BlockType("IQ3_S", 256, 110),
    22: BlockType("IQ2_S", 256, 82),
    23: BlockType("IQ4_XS", 256, 136),
    24: BlockType("I8", 1, 1),
    25: BlockType("I16", 1, 2),
    26: BlockType("I32", 1, 4),
    27: BlockType("I64", 1, 8),
    28: BlockType("F64", 1, 8),
    29: BlockType("IQ1_M", 256, 56),
    30: BlockType("BF16", 1, 2),
    34: BlockType("TQ1_0", 256, 54),
    35: BlockType("TQ2_0", 256, 66),
    39: BlockType("MXFP4", 32, 17),
    40: BlockType("NVFP4", 64, 36),
    41: BlockType("Q1_0", 128, 18),
    42: BlockType("Q2_0", 64, 18),
}
"""By the number that stands in a tensor's description."""

REMOVED: Mapping[int, str] = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8",
    36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
}  # fmt: skip
"""Types of older files, which llama.cpp reads no more."""

MIXTURES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M",
    18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S",
    25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M",
    32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0",
    41: "Q2_0",
}  # fmt: skip
"""`general.file_type`: which recipe a file was quantised by, as people write it."""

TYPES_OF: Mapping[str, frozenset[str]] = {
    "Q2_K": frozenset({"Q2_K", "Q3_K"}),
    "Q2_K_S": frozenset({"Q2_K", "Q3_K"}),
    "Q3_K_S": frozenset({"Q3_K"}),
    "Q3_K_M": frozenset({"Q3_K", "Q4_K"}),
    "Q3_K_L": frozenset({"Q3_K", "Q5_K"}),
    "Q4_K_S": frozenset({"Q4_K", "Q5_K"}),
    "Q4_K_M": frozenset({"Q4_K", "Q6_K"}),
    "Q5_K_S": frozenset({"Q5_K"}),
    "Q5_K_M": frozenset({"Q5_K", "Q6_K"}),
    "IQ2_XXS": frozenset({"IQ2_XXS", "Q2_K"}),
    "IQ2_XS": frozenset({"IQ2_XS", "Q2_K"}),
    "IQ2_S": frozenset({"IQ2_XS", "IQ2_S"}),
    "IQ2_M": frozenset({"IQ2_S", "IQ3_S"}),
    "IQ3_XS": frozenset({"IQ3_XXS", "IQ3_S"}),
    "IQ3_XXS": frozenset({"IQ3_XXS", "IQ3_S"}),
    "IQ3_M": frozenset({"IQ3_S", "Q4_K"}),
    "IQ1_S": frozenset({"IQ1_S", "IQ2_XXS"}),
    "IQ1_M": frozenset({"IQ1_M", "IQ2_XXS"}),
}
"""The types of which one must be that of most weights, for a recipe that is not called as its type. K-quants
fall back to the 32-wide types where a row is no multiple of 256; see `FALLBACKS`."""

FALLBACKS: frozenset[str] = frozenset({"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "F16"})
"""What llama.cpp's quantiser takes for rows that a 256-wide type does not fit."""


def quantisation(file_type: object, scalars: Mapping[str, int]) -> str:
    """What users call the quantisation.

    Args:
        file_type: the field, where the header has it.
        scalars: number of scalars by type name.

    Returns the recipe's name if the tensors bear it out, else the name of the type of most scalars; ""
    without tensors.
    """
    if not scalars:
        return ""
    most = max(sorted(scalars), key=lambda name: scalars[name])
    told = MIXTURES.get(file_type) if isinstance(file_type, int) else None
    if told is None or told == most:
        return most
    expected = TYPES_OF.get(told, frozenset({told}))
    borne_out = most in expected or (most in FALLBACKS and bool(expected & scalars.keys()))
    return told if borne_out else most
