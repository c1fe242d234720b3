"""From one fleet file to what each device is flashed with, and its first boot."""
