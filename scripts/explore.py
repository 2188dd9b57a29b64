from softpoint.cli import main

main("explore")
