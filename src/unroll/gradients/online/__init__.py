"""Schemes that keep a memory: what the past has to do with the parameters."""

from unroll.gradients.online.diagonal import rtrl_diagonal
from unroll.gradients.online.kronecker import kf_rtrl
from unroll.gradients.online.local import eprop, rflo, snap1
from unroll.gradients.online.optimal import ok
from unroll.gradients.online.reaching import snap
from unroll.gradients.online.rtrl import rtrl
from unroll.gradients.online.sketched import sketched
from unroll.gradients.online.uoro import uoro

__all__ = [
  "eprop",
  "kf_rtrl",
  "ok",
  "rflo",
  "rtrl",
  "rtrl_diagonal",
  "sketched",
  "snap",
  "snap1",
  "uoro",
]
