from softpoint.cli import main

main("inspect")
