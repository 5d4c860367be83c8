#!/bin/bash
# Runs on every boot, also when nobody is connected.
echo "boot number $(($(cat /var/tmp/boots 2>/dev/null || echo 0) + 1)), first boot: $RUM_FIRST_BOOT"
echo $(($(cat /var/tmp/boots 2>/dev/null || echo 0) + 1)) > /var/tmp/boots
