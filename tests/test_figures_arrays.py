"""The drawings of the chapter on NumPy and CuPy, with and without a record of a GPU."""

import numpy as np
import pytest

from companion.figures import arrays as drawings
from tests.support.gpu_records import RECORD, attention_row


def test_the_two_readings_are_told():
    said = drawings.two_clocks([20.0] * 5, 4.0).alt
    assert "hands over 5 commands and is done after 20 microseconds" in said
    assert "done after 104 microseconds, of which it is idle for 4" in said
    starved = drawings.two_clocks([2.0, 2.0], 8.0, unit="ms").alt
    assert "after 18 milliseconds, of which it is idle for 14" in starved
    for durations in ([], [1.0] * 9):
        with pytest.raises(ValueError, match="durations must hold 1 to 8 times"):
            drawings.two_clocks(durations, 4.0)


def test_the_formats_have_as_many_bits_as_their_names_say():
    sizes = {name: sum(bits) for name, bits in drawings.FORMATS.items()}
    assert sizes == {"float32": 32, "TF32": 19, "bfloat16": 16, "float16": 16}
    for name, dtype in (("float32", np.float32), ("float16", np.float16)):
        information = np.finfo(dtype)
        assert drawings.FORMATS[name] == (1, information.iexp, information.nmant)
    assert "bfloat16: 1 sign bit, 8 exponent bits, 7 bits" in drawings.number_formats().alt


def test_a_record_is_drawn_from_its_own_numbers():
    tiled = attention_row(64, 7.0, 7.0, 7.0) | {"implementation": "tiled"}
    said = drawings.recorded_times(RECORD | {"attention": [tiled, *RECORD["attention"]]}).alt
    assert "CPU: from 1 at 64 to 9 at 256" in said
    assert "GPU: 2 throughout" in said
    assert "GPU and bus: from 3 at 64 to 4 at 256" in said
    assert "GPU, not waited for" in said
    assert "7" not in said.replace("256", "")
