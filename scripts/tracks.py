from softpoint.cli import main

main("tracks")
