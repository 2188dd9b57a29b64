from softpoint.cli import main

main("curve")
