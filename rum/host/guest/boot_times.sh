# What this guest knows of where its boot went: sh -c TEXT rum-boot-times UNIT...
# Read by rum.host.guest.boot_times.
systemctl show -p InitRDTimestampMonotonic -p UserspaceTimestampMonotonic -p FinishTimestampMonotonic
echo
systemctl show -p Id -p InactiveExitTimestampMonotonic -p ActiveEnterTimestampMonotonic "$@"
echo
grep -aE ' (start|finish): ' /var/log/cloud-init.log 2>/dev/null | tail -n 1000
