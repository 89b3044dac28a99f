"""Number formats on float tensors, one file each: the format's place in a scheme, its calibration, its codec.

Encode and decode compose to the papers' fake quantisation. Rounding is HALF_EVEN (torch.round), as in the released
code of RepQ-ViT and FQ-ViT. Adding a format adds a file here and one in golden/lowering/formats; nothing else changes.
"""
