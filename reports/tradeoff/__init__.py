"""The sweep of `vitrtl tradeoff`: accuracy, cycles and area of every datapath asked for, side by side."""
