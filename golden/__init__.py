"""What is right: quantiser definitions, calibration, lowering to integers and the slow, obvious int64 reference."""
