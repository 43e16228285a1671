// SPDX-License-Identifier: Apache-2.0
//! OVA: a virtual machine as one file, for VMware and whoever else imports OVF.
//!
//! Specification: DMTF DSP0243 2.1. An archive with the description of the machine first, then its
//! disk, then the digests of both, and who vouches for them. What is VMware's own (`vmw:`) is marked as optional.
//!
//! Properties are what an importer asks a person for, or takes from a file. The machine finds them in
//! its environment, by guestinfo or on an ISO, under the keys that cloud-init's OVF source has.

use std::{fmt::Write as _, io};

use rcgen::{KeyPair, SigningKey as _};

use super::tar::Writer;
use crate::{digest::Digest, tree::Content};

/// A virtual machine.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// Of the machine, and of the files without their endings.
    pub name: &'a str,
    /// What a person sees: the cluster and the role.
    pub product: &'a str,
    pub version: &'a str,
    pub n_cpus: u32,
    /// MiB.
    pub memory: u64,
    /// Bytes that the machine sees.
    pub capacity: u64,
    /// Its disk: VMDK, streamOptimized.
    pub disk: &'a Content,
    pub disk_digest: Digest,
}

/// What an importer may say of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    InstanceId,
    Hostname,
    NetworkConfig,
    UserData,
    PublicKeys,
    Vars,
}

impl Property {
    pub const ALL: [Self; 6] = [
        Self::InstanceId,
        Self::Hostname,
        Self::NetworkConfig,
        Self::UserData,
        Self::PublicKeys,
        Self::Vars,
    ];

    pub const fn key(self) -> &'static str {
        match self {
            Self::InstanceId => "instance-id",
            Self::Hostname => "hostname",
            Self::NetworkConfig => "network-config",
            Self::UserData => "user-data",
            Self::PublicKeys => "public-keys",
            Self::Vars => "vars",
        }
    }

    /// What a person calls it, and what it is for.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::InstanceId => ("Instance", "Changes when the machine is to become another host"),
            Self::Hostname => ("Host name", "Without a domain"),
            Self::NetworkConfig => ("Network", "Network configuration, version 1 or 2, in base64"),
            Self::UserData => ("User data", "#cloud-config in base64"),
            Self::PublicKeys => ("SSH keys", "Public keys, a line each"),
            Self::Vars => ("Variables", "Values for the templates of the image, as JSON"),
        }
    }
}

/// Who vouches for a machine.
#[derive(Debug)]
pub struct Seal {
    /// One certificate or a chain, PEM.
    pub certificate: String,
    /// RSA: what importers of OVF check, and a signature that is the same every time.
    pub key: KeyPair,
}

impl Seal {
    /// The file that stands behind the digests: the signature of their text, and the certificate.
    fn over(&self, name: &str, digests: &str) -> io::Result<String> {
        let signature = self.key.sign(digests.as_bytes()).map_err(io::Error::other)?;
        let mut text = format!("SHA256({name})= ");
        for byte in signature {
            write!(text, "{byte:02x}").expect("a text grows");
        }
        Ok(text + "\n" + self.certificate.trim_end() + "\n")
    }
}

/// The archive of a machine.
///
/// # Errors
/// The key does not sign.
pub fn archive(machine: &Machine<'_>, seal: Option<&Seal>) -> io::Result<Content> {
    let [ovf, vmdk, mf] = ["ovf", "vmdk", "mf"].map(|end| format!("{}.{end}", machine.name));
    let descriptor = descriptor(machine, &vmdk);
    let digests = format!(
        "SHA256({ovf})= {}\nSHA256({vmdk})= {}\n",
        Digest::of(descriptor.as_bytes()),
        machine.disk_digest
    );
    let mut writer = Writer::default();
    writer.file(&ovf, &Content::bytes(descriptor.into_bytes()));
    writer.file(&vmdk, machine.disk);
    if let Some(seal) = seal {
        let text = seal.over(&mf, &digests)?;
        writer.file(&mf, &Content::bytes(digests.into_bytes()));
        writer.file(&format!("{}.cert", machine.name), &Content::bytes(text.into_bytes()));
    } else {
        writer.file(&mf, &Content::bytes(digests.into_bytes()));
    }
    Ok(writer.finish())
}

/// The description: an envelope with one machine.
fn descriptor(machine: &Machine<'_>, vmdk: &str) -> String {
    let capacity = machine.capacity;
    let [name, product, version, vmdk] =
        [machine.name, machine.product, machine.version, vmdk].map(escaped);
    let mut properties = String::new();
    for property in Property::ALL {
        let (key, (label, text)) = (property.key(), property.words());
        write!(
            properties,
            r#"
      <Property ovf:key="{key}" ovf:type="string" ovf:userConfigurable="true" ovf:value="">
        <Label>{label}</Label>
        <Description>{text}</Description>
      </Property>"#
        )
        .expect("a text grows");
    }
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="{vmdk}" ovf:id="file1" ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>The disk</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="disk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The network of the hosts</Info>
    <Network ovf:name="hosts">
      <Description>The network of the hosts</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A host of Kubernetes, or what stands before it</Info>
    <Name>{name}</Name>
    <ProductSection>
      <Info>What this machine is, and what makes it one host</Info>
      <Product>{product}</Product>
      <Version>{version}</Version>
      <Category>Host</Category>{properties}
    </ProductSection>
    <OperatingSystemSection ovf:id="96" vmw:osType="debian11_64Guest">
      <Info>The kind of the operating system</Info>
      <Description>Debian 64-bit</Description>
    </OperatingSystemSection>
{hardware}  </VirtualSystem>
</Envelope>
"#,
        size = machine.disk.len(),
        hardware = hardware(machine, &name),
    )
}

/// What a virtual machine is given: types of CIM's `CIM_ResourceAllocationSettingData`.
fn hardware(machine: &Machine<'_>, name: &str) -> String {
    let Machine { n_cpus, memory, .. } = machine;
    format!(
        r#"    <VirtualHardwareSection ovf:transport="com.vmware.guestInfo iso">
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual hardware family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-17</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:ElementName>{n_cpus} processors</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>{n_cpus}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:ElementName>{memory} MiB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>{memory}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SCSI controller</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SATA controller</rasd:ElementName>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:ResourceSubType>vmware.sata.ahci</rasd:ResourceSubType>
        <rasd:ResourceType>20</rasd:ResourceType>
      </Item>
      <Item ovf:required="false">
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>false</rasd:AutomaticAllocation>
        <rasd:ElementName>CD/DVD drive</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:Parent>4</rasd:Parent>
        <rasd:ResourceType>15</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Disk</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/disk1</rasd:HostResource>
        <rasd:InstanceID>6</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>hosts</rasd:Connection>
        <rasd:ElementName>Network adapter</rasd:ElementName>
        <rasd:InstanceID>7</rasd:InstanceID>
        <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
      <vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="false"/>
      <vmw:Config ovf:required="false" vmw:key="tools.syncTimeWithHost" vmw:value="false"/>
      <vmw:ExtraConfig ovf:required="false" vmw:key="disk.EnableUUID" vmw:value="TRUE"/>
    </VirtualHardwareSection>
"#
    )
}

/// A text as an attribute or between elements.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_description_first_and_the_digests_last() {
        let disk = Content::bytes(*b"a disk");
        let machine = Machine {
            name: "quickstart-lb",
            product: "quickstart & \"lb\"",
            version: "1",
            n_cpus: 2,
            memory: 1024,
            capacity: 4 << 30,
            disk: &disk,
            disk_digest: Digest::of(b"a disk"),
        };
        let bytes = archive(&machine, None).unwrap().to_vec().unwrap();
        let mut tar = ::tar::Archive::new(&*bytes);
        let files: Vec<(String, String)> = tar
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let name = entry.path().unwrap().display().to_string();
                let mut text = String::new();
                std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
                (name, text)
            })
            .collect();
        let names: Vec<&str> = files.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["quickstart-lb.ovf", "quickstart-lb.vmdk", "quickstart-lb.mf"]);
        let ovf = &files[0].1;
        assert!(ovf.contains("<Product>quickstart &amp; &quot;lb&quot;</Product>"), "{ovf}");
        assert!(ovf.contains(r#"ovf:size="6""#));
        for (name, text) in &files[..2] {
            let line = format!("SHA256({name})= {}\n", Digest::of(text.as_bytes()));
            assert!(files[2].1.contains(&line), "{}", files[2].1);
        }
    }
}
