from softpoint.cli import main

main("weights")
