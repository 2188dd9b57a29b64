from softpoint.cli import main

main("crossval")
