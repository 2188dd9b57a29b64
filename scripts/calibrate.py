from softpoint.cli import main

main("calibrate")
