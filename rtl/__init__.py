"""Amaranth components of the datapath's units, and the Verilog made from them. Never imports torch."""
