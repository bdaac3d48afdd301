"""The synthetic tasks by name."""

from unroll.data.synthetic import grammars, marked, symbols
from unroll.data.synthetic.task import MemoryTask

TASKS: dict[str, MemoryTask] = {
  "adding": marked.ADDING,
  "adding_1997": marked.ADDING_1997,
  "multiplication": marked.MULTIPLICATION,
  "copy": symbols.COPY,
  "temporal_order": symbols.TEMPORAL_ORDER,
  "temporal_order_3": symbols.TEMPORAL_ORDER_3,
  "recall": symbols.RECALL,
  "parity": symbols.PARITY,
  "dyck": grammars.DYCK,
  "anbncn": grammars.ANBNCN,
}
