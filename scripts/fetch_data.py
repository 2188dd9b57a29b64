from softpoint.cli import main

main("fetch")
