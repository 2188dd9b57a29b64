from softpoint.cli import main

main("serve")
