"""Real-valued series: read, checked, made regular, split, scaled, cut into windows."""

from unroll.data.series.value import Series as Series
