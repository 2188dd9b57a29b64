from softpoint.cli import main

main("compare")
