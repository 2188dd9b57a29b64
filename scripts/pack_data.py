from softpoint.cli import main

main("pack")
